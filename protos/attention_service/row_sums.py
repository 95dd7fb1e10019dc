"""Sums over every row of attention weights, in few passes over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "FloatArray", "Int64Array", "RowSums", "row_sums"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Int64Array: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_AT_ONCE = 1 << 17  # weights looked at together: half a MiB, that a core's cache keeps
_SMALLEST = np.finfo(np.float32).tiny  # has a logarithm, which 0 has not


class RowSums(NamedTuple):
    """Figures of each row, float64 [sequences, heads, queries]."""

    entropy: FloatArray
    """-sum(w log w), nats."""
    largest: FloatArray
    """The largest weight."""
    distance: FloatArray | None
    """sum(w |place - key|), positions; None without places."""


def row_sums(weights: FloatArray, places: Int64Array | None) -> RowSums:
    """Returns the figures of each row.

    Each row is summed up in float32, to about one part in 10^7.

    Args:
        weights: [sequences, heads, queries, keys].
        places: Place of each query, counted from the first key [sequences, queries]; None for none.
    """
    keys = np.arange(weights.shape[3], dtype=np.float32)
    entropy, largest, distance = (np.zeros(weights.shape[:3]) for _ in range(3))
    memory = np.empty(0, np.float32)
    for b, q in _parts(weights.shape):
        w = weights[b, :, q].astype(np.float32, copy=False)  # [sequences, heads, queries, keys]
        if memory.size < w.size:
            memory = np.empty(w.size, np.float32)
        logarithms = memory[: w.size].reshape(w.shape)
        np.maximum(w, _SMALLEST, out=logarithms)  # as 0 log 0 is 0
        np.log(logarithms, out=logarithms)
        # Sums in pairs: einsum adds one after the other, 65,536 equal weights to 2 in 10^4.
        entropy[b, :, q] = np.multiply(w, logarithms, out=logarithms).sum(axis=-1)
        largest[b, :, q] = w.max(axis=-1)
        if places is not None:
            away = np.abs(
                places[b, q, None].astype(np.float32) - keys
            )  # [sequences, queries, keys]
            distance[b, :, q] = np.multiply(w, away[:, None], out=logarithms).sum(axis=-1)
    # A weight that was rounded to more than 1 has a logarithm above 0.
    return RowSums(np.maximum(-entropy, 0.0), largest, None if places is None else distance)


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yields sequences and queries of a block, few at a time."""
    sequences, heads, queries, keys = shape
    some_sequences = max(1, _AT_ONCE // (heads * queries * keys))
    some_queries = max(1, _AT_ONCE // (heads * keys))
    for b in range(0, sequences, some_sequences):
        for q in range(0, queries, some_queries):
            yield slice(b, b + some_sequences), slice(q, q + some_queries)
