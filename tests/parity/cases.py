"""Calls to ``attend`` and what the oracle says of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client import AttendResult, AttentionClient
from attention_service.manifest import Causal
from attention_service.reference import (
    Attention,
    Projections,
    attention,
    combine_heads,
    may_attend,
    multi_head_attention,
    split_heads,
)

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True)
class LayerDims:
    """Sizes of one attention layer."""

    query_dim: int
    key_dim: int
    value_dim: int
    output_dim: int
    heads: int
    kv_heads: int
    head_dim: int
    value_head_dim: int
    bias: bool = True
    # What is computed where a request says nothing.
    causal: Causal = "none"
    window: tuple[int | None, int | None] = (None, None)
    softcap: float = 0.0


_DECODER = LayerDims(
    32, 32, 32, 32, 4, 4, head_dim=8, value_head_dim=8, bias=False, causal="lower_right"
)
LAYERS: Mapping[str, LayerDims] = {
    # Grouped heads, and every size its own.
    "grouped": LayerDims(24, 20, 28, 18, heads=6, kv_heads=2, head_dim=5, value_head_dim=7),
    "decoder": _DECODER,
    # The same weights, with every default that a model may have.
    "windowed": replace(_DECODER, window=(3, None), softcap=20.0),
}
MODELS = ("sdpa", *LAYERS)


@dataclass(frozen=True)
class Masks:
    """Who may attend to whom, as keywords of ``attend``; None is absent."""

    kv_lengths: Sequence[int] | None = None
    query_lengths: Sequence[int] | None = None
    query_offsets: Sequence[int] | None = None
    key_mask: BoolArray | None = None
    attend_mask: BoolArray | None = None
    attn_bias: NDArray[Any] | None = None
    causal: Causal | None = None
    window: tuple[int | None, int | None] | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One call to ``attend``."""

    model: str
    dims: LayerDims
    query: NDArray[Any]  # [batch, query_len, query_dim]
    key: NDArray[Any] | None = None  # [batch, kv_len, key_dim]
    value: NDArray[Any] | None = None  # [batch, kv_len, value_dim]
    masks: Masks = Masks()
    scale: float | None = None
    softcap: float | None = None
    ablated_heads: Sequence[int] = ()

    def __repr__(self) -> str:
        inputs = {"query": self.query, "key": self.key, "value": self.value}
        given = ", ".join(
            f"{name}={x.dtype}{list(x.shape)}" for name, x in inputs.items() if x is not None
        )
        return (
            f"Case({self.model}, {self.dims}, {given}, {self.masks}, scale={self.scale}, "
            f"softcap={self.softcap}, ablated_heads={list(self.ablated_heads)})"
        )

    @property
    def batch(self) -> int:
        return len(self.query)

    @property
    def query_len(self) -> int:
        return int(self.query.shape[1])

    @property
    def kv_len(self) -> int:
        return self.query_len if self.key is None else int(self.key.shape[1])

    @property
    def causal(self) -> Causal:
        """Causality with the model's own filled in."""
        return self.masks.causal or self.dims.causal

    @property
    def window(self) -> tuple[int | None, int | None]:
        """Keys in sight before and after a place, the model's own filled in."""
        return self.dims.window if self.masks.window is None else self.masks.window

    @property
    def softcap_applied(self) -> float:
        """The softcap with the model's own filled in, as float32 carries it."""
        return float(np.float32(self.dims.softcap if self.softcap is None else self.softcap))

    @property
    def scale_applied(self) -> float:
        """The scale with the model's own filled in, as float32 carries it."""
        own = 1.0 / math.sqrt(self.dims.head_dim)
        return float(np.float32(own if self.scale is None else self.scale))

    @property
    def query_lengths(self) -> list[int]:
        """Real queries of each sequence, the default filled in."""
        if self.masks.query_lengths is not None:
            return list(self.masks.query_lengths)
        if self.key is None and self.masks.kv_lengths is not None:
            return list(self.masks.kv_lengths)
        return [self.query_len] * self.batch

    @property
    def places(self) -> NDArray[np.int64]:
        """Place of each query on the key axis [batch, query_len]."""
        first = np.zeros(self.batch, np.int64)
        if self.masks.query_offsets is not None:
            first = np.array(self.masks.query_offsets, np.int64)
        elif self.causal == "lower_right":
            kv_lengths = self.masks.kv_lengths or [self.kv_len] * self.batch
            first = np.array(kv_lengths, np.int64) - np.array(self.query_lengths, np.int64)
        return first[:, None] + np.arange(self.query_len)

    @cached_property
    def allowed(self) -> BoolArray:
        """Who may attend to whom, the bias included, [batch, heads, query_len, kv_len]."""
        masks = self.masks
        shape = (self.batch, self.dims.heads, self.query_len, self.kv_len)
        allowed = may_attend(
            batch=self.batch,
            query_len=self.query_len,
            kv_len=self.kv_len,
            kv_lengths=masks.kv_lengths,
            query_lengths=self.query_lengths,
            query_offsets=masks.query_offsets,
            key_mask=masks.key_mask,
            attend_mask=masks.attend_mask,
            causal=self.causal,
            window=self.window,
        )
        if masks.attn_bias is not None:
            bias = four_dimensional(masks.attn_bias).astype(np.float32)
            return np.broadcast_to(allowed & (bias > LOWEST), shape)
        return np.broadcast_to(allowed, shape)

    @property
    def blind(self) -> BoolArray:
        """Rows that may attend to nothing, [batch, heads, query_len]."""
        return np.asarray(~np.any(self.allowed, axis=-1))

    @property
    def real(self) -> BoolArray:
        """Rows of real queries, [batch, heads, query_len]."""
        real = np.arange(self.query_len) < np.array(self.query_lengths)[:, None, None]
        return np.broadcast_to(real, (self.batch, self.dims.heads, self.query_len))

    @property
    def keywords(self) -> dict[str, Any]:
        """All that the call says of the attention."""
        sdpa = self.model == "sdpa"
        return {
            "model": self.model,
            "query": self.query,
            "key": self.key,
            "value": self.value,
            **vars(self.masks),
            "num_heads": self.dims.heads if sdpa else None,
            "num_kv_heads": self.dims.kv_heads if sdpa else None,
            "scale": self.scale,
            "softcap": self.softcap,
            "ablated_heads": self.ablated_heads,
        }

    def ask(self, client: AttentionClient, **outputs: Any) -> AttendResult:
        """Returns the server's answer."""
        return client.attend(**self.keywords, **outputs)

    def expected(self, projections: Mapping[str, Projections]) -> Expected:
        """Returns what the oracle says."""
        query = self.query.astype(np.float64)
        key = query if self.key is None else self.key.astype(np.float64)
        value = key if self.value is None else self.value.astype(np.float64)
        heads, kv_heads = self.dims.heads, self.dims.kv_heads
        options: dict[str, Any] = {
            "scale": self.scale_applied,
            "softcap": self.softcap_applied,
            "attn_bias": self.masks.attn_bias,
            "allowed": self.allowed,
            "ablated_heads": self.ablated_heads,
        }
        if self.model == "sdpa":
            split = (
                split_heads(query, heads),
                split_heads(key, kv_heads),
                split_heads(value, kv_heads),
            )
            inside = attention(*split, **options)
            return Expected(combine_heads(inside.head_outputs), *split, inside)
        layer = projections[self.model]
        output, inside = multi_head_attention(
            query, key, value, layer, num_heads=heads, num_kv_heads=kv_heads, **options
        )
        return Expected(
            output,
            split_heads(query @ np.asarray(layer.w_q) + np.asarray(layer.b_q), heads),
            split_heads(key @ np.asarray(layer.w_k) + np.asarray(layer.b_k), kv_heads),
            split_heads(value @ np.asarray(layer.w_v) + np.asarray(layer.b_v), kv_heads),
            inside,
        )


@dataclass(frozen=True)
class Expected:
    """Every tensor of an answer, in float64."""

    output: Float64Array
    query_heads: Float64Array
    key_heads: Float64Array
    value_heads: Float64Array
    inside: Attention

    @property
    def tensors(self) -> dict[str, Float64Array]:
        """The tensors by their names in the contract."""
        return {
            "output": self.output,
            "query_heads": self.query_heads,
            "key_heads": self.key_heads,
            "value_heads": self.value_heads,
            **self.inside._asdict(),
        }

    @property
    def largest_score(self) -> float:
        """Largest magnitude of a score."""
        return float(np.abs(self.inside.scores).max())


def four_dimensional(mask: NDArray[Any]) -> NDArray[Any]:
    """Returns a mask over pairs with all four dimensions."""
    return {2: mask[None, None], 3: mask[:, None]}.get(mask.ndim, mask)
