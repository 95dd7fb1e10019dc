"""Calls to ``attend`` as hypothesis draws them, and what the oracle says of each.

Hypothesis draws the structure: sizes, which masks, which options. What arrays hold comes from a
seed, so that an example is drawn fast and shrinks by its structure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
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
DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


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
    causal: Causal = "none"
    """Causality where a request says nothing."""


LAYERS: Mapping[str, LayerDims] = {
    # Grouped heads, and every size its own.
    "grouped": LayerDims(24, 20, 28, 18, heads=6, kv_heads=2, head_dim=5, value_head_dim=7),
    # As decoders have it: one width, no biases, causal.
    "decoder": LayerDims(
        32, 32, 32, 32, 4, 4, head_dim=8, value_head_dim=8, bias=False, causal="lower_right"
    ),
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
    def scale_applied(self) -> float:
        """The scale with the model's own filled in, as float32 carries it."""
        return float(np.float32(self.scale or 1.0 / math.sqrt(self.dims.head_dim)))

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
        allowed: NDArray[Any] = may_attend(
            batch=self.batch,
            query_len=self.query_len,
            kv_len=self.kv_len,
            kv_lengths=masks.kv_lengths,
            query_lengths=self.query_lengths,
            query_offsets=masks.query_offsets,
            key_mask=masks.key_mask,
            attend_mask=masks.attend_mask,
            causal=self.causal,
            window=masks.window or (None, None),
        )
        if masks.attn_bias is not None:
            bias = four_dimensional(masks.attn_bias).astype(np.float32)
            allowed = np.logical_and(allowed, bias > LOWEST)
        return np.broadcast_to(allowed, (self.batch, self.dims.heads, self.query_len, self.kv_len))

    @property
    def blind(self) -> BoolArray:
        """Rows that may attend to nothing, [batch, heads, query_len]."""
        blind: BoolArray = ~self.allowed.any(axis=-1)
        return blind

    @property
    def real(self) -> BoolArray:
        """Rows of real queries, [batch, heads, query_len]."""
        real = np.arange(self.query_len) < np.array(self.query_lengths)[:, None, None]
        return np.broadcast_to(real, (self.batch, self.dims.heads, self.query_len))

    def ask(self, client: AttentionClient, **outputs: Any) -> AttendResult:
        """Returns the server's answer."""
        sdpa = self.model == "sdpa"
        return client.attend(
            self.model,
            self.query,
            self.key,
            self.value,
            **vars(self.masks),
            num_heads=self.dims.heads if sdpa else None,
            num_kv_heads=self.dims.kv_heads if sdpa else None,
            scale=self.scale,
            softcap=self.softcap,
            ablated_heads=self.ablated_heads,
            **outputs,
        )

    def expected(self, projections: Mapping[str, Projections]) -> Expected:
        """Returns what the oracle says."""
        query = self.query.astype(np.float64)
        key = query if self.key is None else self.key.astype(np.float64)
        value = key if self.value is None else self.value.astype(np.float64)
        heads, kv_heads = self.dims.heads, self.dims.kv_heads
        options: dict[str, Any] = {
            "scale": self.scale_applied if self.scale is None else float(np.float32(self.scale)),
            "softcap": float(np.float32(self.softcap or 0.0)),
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


_SHORT = st.integers(1, 9)
_LENGTHS = _SHORT | _SHORT | st.sampled_from([17, 33, 70])
"""Mostly short, some longer than the blocks in which kernels work."""
_MASKS = ("kv", "query", "offsets", "key", "attend", "bias")


@st.composite
def cases(
    draw: st.DrawFn,
    model: str | None = None,
    *,
    dtypes: Sequence[str] = ("float32",),
    masks: Sequence[str] = _MASKS,
    place_matters: bool = True,
    cross: bool = False,
) -> Case:
    """Draws calls.

    Args:
        draw: Hypothesis's.
        model: One of MODELS; any if absent.
        dtypes: Types in which tensors may be sent.
        masks: Masks that may be given.
        place_matters: Whether causality and window may be given.
        cross: Whether key and value are always given.
    """
    model = model or draw(st.sampled_from(MODELS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    given = draw(_inputs(model, cross=cross))
    dims = LAYERS[model] if model in LAYERS else draw(_sdpa_dims(given))
    batch, query_len = draw(st.integers(1, 3)), draw(_LENGTHS)
    kv_len = draw(_LENGTHS) if "key" in given else query_len

    def normal(length: int, width: int) -> NDArray[Any]:
        dtype = DTYPES[draw(st.sampled_from(dtypes))]
        return random.standard_normal((batch, length, width)).astype(dtype)

    return Case(
        model=model,
        dims=dims,
        query=normal(query_len, dims.query_dim),
        key=normal(kv_len, dims.key_dim) if "key" in given else None,
        value=normal(kv_len, dims.value_dim) if "value" in given else None,
        masks=draw(
            _masks(
                random,
                (batch, dims.heads, query_len, kv_len),
                given=draw(st.sets(st.sampled_from(masks))) if masks else set(),
                dtypes=dtypes,
                place_matters=place_matters,
            )
        ),
        scale=draw(st.sampled_from([None, None, None, 0.25, -0.5, 1.5])),
        softcap=draw(st.sampled_from([None, None, None, 0.0, 1.5, 30.0])),
        ablated_heads=draw(st.lists(st.integers(0, dims.heads - 1), max_size=2)),
    )


def _inputs(model: str, *, cross: bool) -> st.SearchStrategy[set[str]]:
    """Draws which of key and value are given."""
    if cross or model == "grouped":  # its widths differ
        return st.just({"key", "value"})
    return st.sets(st.sampled_from(["key", "value"]))


@st.composite
def _sdpa_dims(draw: st.DrawFn, given: set[str]) -> LayerDims:
    kv_heads, head_dim = draw(st.integers(1, 4)), draw(st.integers(1, 8) | st.just(64))
    # What takes another's place has its width.
    group = draw(st.integers(1, 3)) if "key" in given else 1
    value_head_dim = draw(st.integers(1, 8) | st.just(64)) if "value" in given else head_dim
    heads = kv_heads * group
    return LayerDims(
        query_dim=heads * head_dim,
        key_dim=kv_heads * head_dim,
        value_dim=kv_heads * value_head_dim,
        output_dim=heads * value_head_dim,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
    )


@st.composite
def _masks(
    draw: st.DrawFn,
    random: np.random.Generator,
    shape: tuple[int, int, int, int],
    *,
    given: set[str],
    dtypes: Sequence[str],
    place_matters: bool,
) -> Masks:
    batch, heads, query_len, kv_len = shape

    def lengths(largest: int) -> list[int]:
        return [int(n) for n in random.integers(0, largest + 1, batch)]

    def pairs() -> tuple[int, ...]:
        rank = draw(st.integers(2, 4))
        if rank == 2:
            return (query_len, kv_len)
        if rank == 3:
            return (batch, query_len, kv_len)
        some = [draw(st.sampled_from([1, size])) for size in (batch, heads, query_len)]
        return (*some, kv_len)

    def bias() -> NDArray[Any]:
        dtype = DTYPES[draw(st.sampled_from(dtypes))]
        numbers = random.uniform(-10.0, 10.0, pairs()).astype(dtype)
        forbidden = random.random(numbers.shape)
        numbers[forbidden < draw(st.sampled_from([0.0, 0.3]))] = -np.inf
        if dtype == np.float32:
            numbers[forbidden > draw(st.sampled_from([1.0, 0.8]))] = LOWEST
        return numbers

    causal: st.SearchStrategy[Causal | None] = st.just("none")
    window: st.SearchStrategy[tuple[int | None, int | None] | None] = st.none()
    if place_matters:
        side = st.none() | st.integers(0, kv_len)
        causal = st.sampled_from([None, "none", "upper_left", "lower_right"])
        window = st.none() | st.tuples(side, side)
    return Masks(
        kv_lengths=lengths(kv_len) if "kv" in given else None,
        query_lengths=lengths(query_len) if "query" in given else None,
        query_offsets=lengths(kv_len + 2) if "offsets" in given else None,
        key_mask=random.random((batch, kv_len)) < 0.7 if "key" in given else None,
        attend_mask=random.random(pairs()) < 0.7 if "attend" in given else None,
        attn_bias=bias() if "bias" in given else None,
        causal=draw(causal),
        window=draw(window),
    )
