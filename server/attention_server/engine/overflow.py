"""Refuses what float32 cannot hold, at the cost of a look at the largest magnitudes."""

from __future__ import annotations

import math

import numpy as np

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.magnitude import largest_at_most, largest_magnitude
from attention_server.domain.request import BoolArray, Float32Array
from attention_service.reasons import Reason

__all__ = [
    "check_finite",
    "check_scores",
    "largest_bias",
    "largest_position_bias",
    "largest_score",
    "may_overflow",
]

_LARGEST = float(np.finfo(np.float32).max)
_AT_ONCE = 1 << 18  # numbers of a bias that are looked at together


def largest_bias(bias: Float32Array | None) -> float:
    """Returns the largest magnitude of the finite biases [batch, heads, queries, keys]; 0 for none.

    A bias may be larger than all that is computed with it: no copy is made.
    """
    if bias is None:
        return 0.0
    largest, rows = 0.0, max(1, _AT_ONCE // bias.shape[3])
    for head in bias.reshape(-1, *bias.shape[2:]):
        for start in range(0, len(head), rows):
            part = head[start : start + rows]
            lowest = float(part.min())
            if lowest == -math.inf:
                lowest = float(part.min(initial=0.0, where=part > -np.inf))
            largest = max(largest, float(part.max()), -lowest)
    return largest


def largest_position_bias(bias: Float32Array) -> float:
    """Returns the largest magnitude of what positions add to scores.

    Raises:
        InvalidRequest: SCORE_OVERFLOW, where that is not finite.
    """
    largest = largest_magnitude(bias)
    if not math.isfinite(largest):
        raise _score_overflow("the model's bias of these positions overflows float32")
    return largest


def largest_score(query: Float32Array, key: Float32Array, scale: float) -> float:
    """Returns what the magnitude of no score, and of no sum within one, is beyond.

    That is head_dim * max|q| * max|k|, which few scores come near, or what that is not beyond.

    Args:
        query: Heads [batch, heads, query_len, head_dim].
        key: Heads [batch, kv_heads, kv_len, head_dim].
        scale: Factor on the dot products.

    Raises:
        InvalidRequest: SCORE_OVERFLOW, where the heads themselves or the scaled query do.
    """
    is_finite, bound = False, math.inf
    for largest in (largest_at_most, largest_magnitude):
        scaled_query = largest(query) * max(abs(scale), 1.0)
        largest_key = largest(key)
        bound = int(query.shape[-1]) * scaled_query * largest_key
        is_finite = scaled_query <= _LARGEST and largest_key <= _LARGEST
        if is_finite and not may_overflow(bound):
            break
    if not is_finite:
        raise _score_overflow("the projected query or key overflows float32; scale the embeddings")
    return bound


def may_overflow(largest: float) -> bool:
    """Returns whether a number of this magnitude at most might leave float32 as it is computed."""
    # Each rounding may carry a sum a little beyond its bound: half the range is kept for them.
    return not largest <= _LARGEST / 2


def check_scores(
    scores: Float32Array, softcap: float, bias: Float32Array | None, in_sight: BoolArray | None
) -> None:
    """Refuses scores [.., query_len, kv_len] that, alone or with their bias, are not finite.

    The softcap, 0 for none, comes before the bias; what is out of sight is not added to.

    Raises:
        InvalidRequest: SCORE_OVERFLOW.
    """
    added = np.float32(0) if bias is None else bias
    if in_sight is not None:
        added = np.where(in_sight, added, np.float32(0))
    with np.errstate(over="ignore", invalid="ignore"):
        capped = softcap * np.tanh(scores / softcap) if softcap else scores
        if not (np.isfinite(scores).all() and np.isfinite(capped + added).all()):
            raise _score_overflow(
                "scores overflow float32; scale the embeddings or lower the scale"
            )


def check_finite(array: Float32Array, what: str) -> None:
    """Refuses an answer that is not finite.

    Raises:
        InvalidRequest: VALUE_OVERFLOW.
    """
    if not math.isfinite(largest_at_most(array)):
        raise InvalidRequest.of(
            Reason.VALUE_OVERFLOW, "", f"{what} overflows float32; scale the embeddings"
        )


def _score_overflow(description: str) -> InvalidRequest:
    return InvalidRequest.of(Reason.SCORE_OVERFLOW, "", description)
