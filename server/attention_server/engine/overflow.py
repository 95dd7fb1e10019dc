"""Refuses what float32 cannot hold, at the cost of a look at the largest magnitudes."""

from __future__ import annotations

import math

import numpy as np

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.request import Float32Array
from attention_service.reasons import Reason

__all__ = ["check_finite", "check_scores", "largest_magnitude", "scores_may_overflow"]

_LARGEST = float(np.finfo(np.float32).max)


def largest_magnitude(array: Float32Array) -> float:
    """Returns max |x|; NaN or infinity if the array holds any."""
    return max(float(array.max()), -float(array.min()))


def scores_may_overflow(
    query: Float32Array, key: Float32Array, *, scale: float, largest_bias: float
) -> bool:
    """Returns whether a score or a sum within it might leave float32.

    Bounds a dot product by head_dim * max|q| * max|k|, so a false alarm is possible and a miss is
    not.

    Args:
        query: Heads [batch, heads, query_len, head_dim].
        key: Heads [batch, kv_heads, kv_len, head_dim].
        scale: Factor on the dot products.
        largest_bias: Largest magnitude of the finite biases.

    Raises:
        InvalidRequest: SCORE_OVERFLOW, where the heads themselves or the scaled query do.
    """
    scaled_query = largest_magnitude(query) * max(abs(scale), 1.0)
    largest_key = largest_magnitude(key)
    if not (scaled_query <= _LARGEST and largest_key <= _LARGEST):
        raise _score_overflow("the projected query or key overflows float32; scale the embeddings")
    bound = query.shape[-1] * scaled_query * largest_key + largest_bias
    # Each rounding may carry a sum a little beyond its bound: half the range is kept for them.
    return not bound <= _LARGEST / 2


def check_scores(scores: Float32Array, softcap: float, bias: Float32Array | None) -> None:
    """Refuses scores [.., query_len, kv_len] that, alone or with their bias, are not finite.

    The softcap, 0 for none, comes before the bias.

    Raises:
        InvalidRequest: SCORE_OVERFLOW.
    """
    added = np.float32(0) if bias is None else np.where(np.isneginf(bias), np.float32(0), bias)
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
    if not math.isfinite(largest_magnitude(array)):
        raise InvalidRequest.of(
            Reason.VALUE_OVERFLOW, "", f"{what} overflows float32; scale the value embeddings"
        )


def _score_overflow(description: str) -> InvalidRequest:
    return InvalidRequest.of(Reason.SCORE_OVERFLOW, "", description)
