"""Where queries stand on the key axis, and the stretch of keys that each sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attention_server.domain.model import AttentionSettings
from attention_server.domain.request import AttendRequest, Int64Array, Mask

__all__ = ["Sight", "places", "sight"]


class Sight(NamedTuple):
    """Keys first <= j < end that length, causality and window leave to each query."""

    first: Int64Array  # [batch or 1, query_len]
    end: Int64Array  # [batch or 1, query_len]


def places(mask: Mask, settings: AttentionSettings, query_len: int) -> Int64Array:
    """Returns the place of each query on the key axis, int64 [batch or 1, query_len]."""
    index = np.arange(query_len, dtype=np.int64)[None]  # [1, query_len]
    if mask.query_offsets is not None:
        return index + mask.query_offsets[:, None]
    if settings.causal == "lower_right":
        return index + (mask.kv_lengths - mask.query_lengths)[:, None]
    return index


def sight(request: AttendRequest) -> Sight | None:
    """Returns what each query sees by length, causality and window; None where that is all keys."""
    mask, settings, kv_len = request.mask, request.settings, request.kv_len
    left, right = settings.window
    place = places(mask, settings, request.query_len)
    first = np.zeros_like(place) if left is None else np.maximum(place - left, 0)
    end = np.broadcast_to(mask.kv_lengths[:, None], (request.batch, request.query_len))
    if settings.causal != "none":
        right = 0
    if right is not None:
        end = np.minimum(end, place + right + 1)
    if (first <= 0).all() and (end >= kv_len).all():
        return None
    return Sight(first, end)
