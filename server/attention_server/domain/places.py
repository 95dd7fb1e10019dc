"""Where queries stand on the key axis, and the stretch of keys that each sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attention_server.domain.model import NO_WINDOW, AttentionSettings
from attention_server.domain.request import AttendRequest, Int64Array, Mask

__all__ = ["Sight", "places", "sees_every_key", "sight"]

_ALL = slice(None)


class Sight(NamedTuple):
    """Keys first <= j < end that length, causality and window leave to each query."""

    first: Int64Array  # [batch or 1, queries]
    end: Int64Array  # [batch or 1, queries]


def places(
    mask: Mask, settings: AttentionSettings, queries: Int64Array, batch: slice = _ALL
) -> Int64Array:
    """Returns the place of each query on the key axis, int64 [batch or 1, queries]."""
    index = queries[None]
    if mask.query_offsets is not None:
        return index + mask.query_offsets[batch, None]
    if settings.causal == "lower_right":
        return index + (mask.kv_lengths - mask.query_lengths)[batch, None]
    return index


def sight(request: AttendRequest, queries: Int64Array, batch: slice = _ALL) -> Sight:
    """Returns what these queries of these sequences see by length, causality and window."""
    mask, settings = request.mask, request.settings
    left, right = settings.window
    place = places(mask, settings, queries, batch)
    first = np.zeros_like(place) if left is None else np.maximum(place - left, 0)
    end = mask.kv_lengths[batch, None]
    if settings.causal != "none":
        right = 0
    if right is not None:
        end = np.minimum(end, place + right + 1)
    return Sight(first, np.broadcast_to(end, (len(end), len(queries))))


def sees_every_key(request: AttendRequest) -> bool:
    """Returns whether length, causality and window leave every key to every query."""
    if request.settings.causal == "none" and request.settings.window == NO_WINDOW:
        return bool(request.mask.kv_lengths.min() >= request.kv_len)
    # Later queries see further: the last one tells where sight begins, the first where it ends.
    seen = sight(request, np.array([0, request.query_len - 1]))
    return bool((seen.first <= 0).all() and (seen.end >= request.kv_len).all())
