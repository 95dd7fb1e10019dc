"""Where queries stand on the key axis, and the stretch of keys that each sees: ``Mask``'s words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_service.manifest import Causal

__all__ = ["Sight", "places", "sight"]

Int64Array = NDArray[np.int64]


class Sight(NamedTuple):
    """Keys first <= j < end that length, causality and window leave to each query."""

    first: Int64Array  # [batch or 1, queries]
    end: Int64Array  # [batch or 1, queries]


def places(
    queries: Int64Array,
    *,
    kv_lengths: Int64Array,
    query_lengths: Int64Array,
    query_offsets: Int64Array | None,
    causal: Causal,
) -> Int64Array:
    """Returns the place of each query on the key axis, int64 [batch or 1, queries].

    Args:
        queries: Indices of queries [queries].
        kv_lengths: Real keys of each sequence [batch].
        query_lengths: Real queries of each sequence [batch].
        query_offsets: Place of each sequence's first query [batch]; None where none is given.
        causal: Causality, as it is applied.
    """
    index = queries[None]
    if query_offsets is not None:
        return index + query_offsets[:, None]
    if causal == "lower_right":
        return index + (kv_lengths - query_lengths)[:, None]
    return index


def sight(
    queries: Int64Array,
    *,
    kv_lengths: Int64Array,
    query_lengths: Int64Array,
    query_offsets: Int64Array | None,
    causal: Causal,
    window: Sequence[int | None],
) -> Sight:
    """Returns what these queries see by length, causality and window.

    Args:
        queries: As for ``places``, and so the others.
        kv_lengths: Real keys of each sequence.
        query_lengths: Real queries of each sequence.
        query_offsets: Place of each sequence's first query; None where none is given.
        causal: Causality, as it is applied.
        window: Keys before and after the place that are seen, (left, right); None for no limit.
    """
    left, right = window
    place = places(
        queries,
        kv_lengths=kv_lengths,
        query_lengths=query_lengths,
        query_offsets=query_offsets,
        causal=causal,
    )
    first = np.zeros_like(place) if left is None else np.maximum(place - left, 0)
    end = kv_lengths[:, None]
    if causal != "none":
        right = 0
    if right is not None:
        end = np.minimum(end, place + right + 1)
    return Sight(first, np.broadcast_to(end, (len(end), len(queries))))
