"""What an exported layer is run with before anyone else runs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from attention_service.manifest import Manifest
from attention_service.reference import may_attend

__all__ = ["Case", "cases"]

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
_MaskKind = Literal["none", "padding", "causal", "arbitrary pairs", "rows without keys"]

_LARGEST_POSITION = 4096
# batch, query_len, kv_len; the last is longer than the blocks in which kernels work.
_SELF_ATTENTION = ((1, 1, 1), (3, 6, 6), (1, 70, 70))
_CROSS_ATTENTION = ((1, 1, 1), (2, 1, 7), (1, 5, 1), (3, 4, 9), (2, 9, 4), (1, 33, 70))


@dataclass(frozen=True)
class Case:
    """One run of a layer."""

    description: str
    """Kind of attention and of mask, for messages."""
    query: Float32Array
    """[batch, query_len, query_dim]."""
    key: Float32Array
    """[batch, kv_len, key_dim]; in self-attention the query."""
    value: Float32Array
    """[batch, kv_len, value_dim]; in self-attention the query."""
    attend_mask: BoolArray
    """[batch or 1, heads or 1, query_len, kv_len], true where a query may attend; of a layer that
    comes whole [batch, 1, query_len, kv_len]."""
    query_positions: Int32Array
    """[batch, query_len]."""
    key_positions: Int32Array
    """[batch, kv_len]; in self-attention those of the query."""

    def __str__(self) -> str:
        batch, query_len, _ = self.query.shape
        sizes = f"batch {batch}, query_len {query_len}, kv_len {self.key.shape[1]}"
        return f"{self.description}, {sizes}"


def cases(manifest: Manifest, *, spread: float) -> Iterator[Case]:
    """Yields every size with every kind of mask and positions, the same for the same manifest.

    Args:
        manifest: Says which sizes the inputs have; self-attention comes only where they are equal.
        spread: Standard deviation of the inputs.
    """
    random = np.random.default_rng(0)
    # Of their own, so that layers without positions have the same inputs as those with.
    random_positions = np.random.default_rng(1)

    def normal(batch: int, length: int, dim: int) -> Float32Array:
        return (spread * random.standard_normal((batch, length, dim))).astype(np.float32)

    for batch, query_len, kv_len in _CROSS_ATTENTION:
        for kind in get_args(_MaskKind):
            yield Case(
                f"cross-attention, mask: {kind}",
                normal(batch, query_len, manifest.query_dim),
                normal(batch, kv_len, manifest.key_dim),
                normal(batch, kv_len, manifest.value_dim),
                _attend_mask(kind, manifest, batch, query_len, kv_len, random),
                _positions(batch, query_len, random_positions),
                _positions(batch, kv_len, random_positions),
            )
    if manifest.query_dim == manifest.key_dim == manifest.value_dim:
        for batch, query_len, kv_len in _SELF_ATTENTION:
            for kind in get_args(_MaskKind):
                query = normal(batch, query_len, manifest.query_dim)
                mask = _attend_mask(kind, manifest, batch, query_len, kv_len, random)
                positions = _positions(batch, query_len, random_positions)
                yield Case(
                    f"self-attention, mask: {kind}",
                    query,
                    query,
                    query,
                    mask,
                    positions,
                    positions,
                )


def _positions(batch: int, length: int, random: np.random.Generator) -> Int32Array:
    """Returns positions that begin anywhere and go on one by one, as those of a sequence do."""
    first = random.integers(0, _LARGEST_POSITION, size=(batch, 1))
    return (first + np.arange(length)).astype(np.int32)


def _attend_mask(
    kind: _MaskKind,
    manifest: Manifest,
    batch: int,
    query_len: int,
    kv_len: int,
    random: np.random.Generator,
) -> BoolArray:
    """Returns a mask; between them the kinds broadcast over batch and heads in every way."""
    mask = _pairs(kind, batch, manifest.defaults.num_heads, query_len, kv_len, random)
    if manifest.staged:
        return mask
    return np.ascontiguousarray(np.broadcast_to(mask[:, :1], (batch, 1, query_len, kv_len)))


def _pairs(
    kind: _MaskKind,
    batch: int,
    heads: int,
    query_len: int,
    kv_len: int,
    random: np.random.Generator,
) -> BoolArray:
    if kind == "none":
        return np.ones((1, 1, query_len, kv_len), dtype=bool)
    if kind == "padding":
        lengths = random.integers(1, kv_len + 1, size=batch).tolist()
        return may_attend(batch=batch, query_len=query_len, kv_len=kv_len, kv_lengths=lengths)
    if kind == "causal":  # lower right: the first rows see nothing where keys are few
        return may_attend(batch=1, query_len=query_len, kv_len=kv_len, causal="lower_right")
    if kind == "arbitrary pairs":
        return random.random((batch, heads, query_len, kv_len)) < 0.6
    pairs = random.random((1, heads, query_len, kv_len)) < 0.6
    pairs[:, :, ::2] = False
    return pairs
