"""Where queries of a request stand on the key axis, and the stretch of keys that each sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_server.domain.model import NO_WINDOW, AttentionSettings
from attention_server.domain.request import AttendRequest, Int64Array, Mask
from attention_service import places as by_lengths
from attention_service.places import Sight

__all__ = ["Sight", "places", "sees_every_key", "sight"]

_ALL = slice(None)


def places(
    mask: Mask, settings: AttentionSettings, queries: Int64Array, batch: slice = _ALL
) -> Int64Array:
    """Returns the place of each query on the key axis, int64 [batch or 1, queries]."""
    return by_lengths.places(queries, **_lengths(mask, settings, batch))


def sight(request: AttendRequest, queries: Int64Array, batch: slice = _ALL) -> Sight:
    """Returns what these queries of these sequences see by length, causality and window."""
    lengths = _lengths(request.mask, request.settings, batch)
    return by_lengths.sight(queries, **lengths, window=request.settings.window)


def sees_every_key(request: AttendRequest) -> bool:
    """Returns whether length, causality and window leave every key to every query."""
    if request.settings.causal == "none" and request.settings.window == NO_WINDOW:
        return bool(request.mask.kv_lengths.min() >= request.kv_len)
    # Later queries see further: the last one tells where sight begins, the first where it ends.
    seen = sight(request, np.array([0, request.query_len - 1]))
    return bool((seen.first <= 0).all() and (seen.end >= request.kv_len).all())


def _lengths(mask: Mask, settings: AttentionSettings, batch: slice) -> dict[str, Any]:
    offsets = mask.query_offsets
    return {
        "kv_lengths": mask.kv_lengths[batch],
        "query_lengths": mask.query_lengths[batch],
        "query_offsets": None if offsets is None else offsets[batch],
        "causal": settings.causal,
    }
