"""Requests of the domain for "sdpa", and every way to cut one into blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attention_server.domain.masks import Block
from attention_server.domain.model import SDPA, AttentionSettings, ModelKey, Window
from attention_server.domain.request import AttendRequest, Float32Array, Mask, Outputs
from attention_service.manifest import Causal
from attention_service.reference import may_attend


@dataclass(frozen=True)
class Masks:
    """The masks of a request as its sender would say them."""

    kv_lengths: Sequence[int] | None = None
    query_lengths: Sequence[int] | None = None
    query_offsets: Sequence[int] | None = None
    key_mask: ArrayLike | None = None
    attend_mask: NDArray[np.bool_] | None = None
    """Four dimensions."""
    attn_bias: Float32Array | None = None
    """Four dimensions; finite or -inf."""
    causal: Causal = "none"
    window: tuple[int | None, int | None] = (None, None)

    def allowed(self, batch: int, query_len: int, kv_len: int) -> NDArray[np.bool_]:
        """Returns what the oracle says of the boolean masks."""
        return may_attend(
            batch=batch,
            query_len=query_len,
            kv_len=kv_len,
            kv_lengths=self.kv_lengths,
            query_lengths=self.query_lengths,
            query_offsets=self.query_offsets,
            key_mask=self.key_mask,
            attend_mask=self.attend_mask,
            causal=self.causal,
            window=self.window,
        )

    def bias(self, shape: tuple[int, int, int, int]) -> Float32Array:
        """Returns what is to be added to the scores, of all masks together."""
        batch, _, query_len, kv_len = shape
        added = np.float32(0) if self.attn_bias is None else self.attn_bias
        allowed = self.allowed(batch, query_len, kv_len)
        bias: Float32Array = np.where(allowed, added, np.float32(-np.inf)).astype(np.float32)
        return np.broadcast_to(bias, shape)


@dataclass(frozen=True)
class Dims:
    """Sizes of a request."""

    batch: int = 2
    query_len: int = 3
    kv_len: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 4
    value_head_dim: int = 3

    @property
    def pairs(self) -> tuple[int, int, int, int]:
        """Shape of scores and weights."""
        return self.batch, self.heads, self.query_len, self.kv_len


@dataclass(frozen=True)
class Options:
    """What a request says beside tensors and masks."""

    outputs: Outputs = field(default_factory=Outputs)
    scale: float | None = None
    softcap: float = 0.0
    ablated_heads: tuple[int, ...] = ()
    model: ModelKey = SDPA.key


def attend_request(
    dims: Dims | None = None,
    masks: Masks | None = None,
    options: Options | None = None,
    *,
    seed: int = 0,
    spread: float = 1.0,
) -> AttendRequest:
    """Returns a valid request for "sdpa" with query, key and value from N(0, spread^2)."""
    dims, masks, options = dims or Dims(), masks or Masks(), options or Options()
    random = np.random.default_rng(seed)

    def normal(length: int, width: int) -> Float32Array:
        return (spread * random.standard_normal((dims.batch, length, width))).astype(np.float32)

    return AttendRequest(
        model=options.model,
        query=normal(dims.query_len, dims.heads * dims.head_dim),
        key=normal(dims.kv_len, dims.kv_heads * dims.head_dim),
        value=normal(dims.kv_len, dims.kv_heads * dims.value_head_dim),
        mask=domain_mask(dims, masks),
        settings=AttentionSettings(
            num_heads=dims.heads,
            num_kv_heads=dims.kv_heads,
            scale=1.0 / math.sqrt(dims.head_dim) if options.scale is None else options.scale,
            softcap=options.softcap,
            causal=masks.causal,
            window=Window(*masks.window),
        ),
        ablated_heads=options.ablated_heads,
        outputs=options.outputs,
    )


def domain_mask(dims: Dims, masks: Masks) -> Mask:
    """Returns the masks with what is absent filled in, as for cross-attention."""

    def one_each(values: Sequence[int] | None, otherwise: int) -> NDArray[np.int64]:
        return np.array([otherwise] * dims.batch if values is None else values, np.int64)

    key_mask = None if masks.key_mask is None else np.asarray(masks.key_mask, bool)
    offsets = masks.query_offsets
    return Mask(
        kv_lengths=one_each(masks.kv_lengths, dims.kv_len),
        query_lengths=one_each(masks.query_lengths, dims.query_len),
        query_offsets=None if offsets is None else np.array(offsets, np.int64),
        key_mask=key_mask,
        attend_mask=masks.attend_mask,
        attn_bias=masks.attn_bias,
    )


def cuttings(dims: Dims) -> Iterator[list[Block]]:
    """Yields every regular way to cut a request into blocks.

    In the order that the engine promises: by sequences, then queries, then heads; a block holds
    whole groups of heads or a part of one.
    """
    group, keys = dims.heads // dims.kv_heads, slice(0, dims.kv_len)
    head_cuts = [group * n for n in range(1, dims.kv_heads + 1)] + list(range(1, group))
    for sequences, queries, heads in itertools.product(
        range(1, dims.batch + 1), range(1, dims.query_len + 1), head_cuts
    ):
        yield [
            Block(b, h, slice(h.start // group, (h.stop - 1) // group + 1), q, keys)
            for b in _slices(dims.batch, sequences)
            for q in _slices(dims.query_len, queries)
            for h in _head_slices(dims.heads, group, heads)
        ]


def _head_slices(heads: int, group: int, size: int) -> Iterator[slice]:
    if size >= group:
        yield from _slices(heads, size)
        return
    for start in range(0, heads, group):
        for part in _slices(group, size):
            yield slice(start + part.start, start + part.stop)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def part_of(array: NDArray[Any], block: Block) -> NDArray[Any]:
    """Returns the block of an array [batch, heads, query_len, kv_len]."""
    return array[block.batch, block.heads, block.queries, block.keys]
