"""Attention in float64 numpy, straight from the formula: what everything else is compared with.

It is slow on purpose and shares no code with what it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Attention",
    "Projections",
    "attention",
    "combine_heads",
    "may_attend",
    "multi_head_attention",
    "places",
    "relative_bias",
    "rms_norm",
    "rotate",
    "split_heads",
]

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Int64Array = NDArray[np.int64]


class Attention(NamedTuple):
    """Every intermediate of attention over heads, float64."""

    scores: Float64Array  # [batch, heads, query_len, kv_len], before softcap, bias and mask
    weights: Float64Array  # [batch, heads, query_len, kv_len], before ablation
    head_outputs: Float64Array  # [batch, heads, query_len, value_head_dim], after ablation
    log_sum_exp: Float64Array  # [batch, heads, query_len]


class Projections(NamedTuple):
    """Learned matrices of a layer as applied to rows: ``x @ w + b``; an absent bias is 0."""

    w_q: ArrayLike  # [query_dim, heads * head_dim]
    w_k: ArrayLike  # [key_dim, kv_heads * head_dim]
    w_v: ArrayLike  # [value_dim, kv_heads * value_head_dim]
    w_o: ArrayLike  # [heads * value_head_dim, output_dim]
    b_q: ArrayLike = 0.0
    b_k: ArrayLike = 0.0
    b_v: ArrayLike = 0.0
    b_o: ArrayLike = 0.0


def places(
    *,
    batch: int,
    query_len: int,
    kv_len: int,
    kv_lengths: Sequence[int] | None = None,
    query_lengths: Sequence[int] | None = None,
    query_offsets: Sequence[int] | None = None,
    causal: str = "none",
) -> Int64Array:
    """Returns each query's place on the key axis, int64 [batch, query_len].

    By the rule of ``Mask`` in the contract; arguments as ``may_attend`` takes them.
    """
    keys = [kv_len] * batch if kv_lengths is None else list(kv_lengths)
    queries = [query_len] * batch if query_lengths is None else list(query_lengths)
    first = [0] * batch
    if query_offsets is not None:
        first = list(query_offsets)
    elif causal == "lower_right":
        first = [keys[b] - queries[b] for b in range(batch)]
    return np.array([[first[b] + i for i in range(query_len)] for b in range(batch)], np.int64)


def may_attend(
    *,
    batch: int,
    query_len: int,
    kv_len: int,
    kv_lengths: Sequence[int] | None = None,
    query_lengths: Sequence[int] | None = None,
    query_offsets: Sequence[int] | None = None,
    key_mask: ArrayLike | None = None,
    attend_mask: ArrayLike | None = None,
    causal: str = "none",
    window: tuple[int | None, int | None] = (None, None),
) -> BoolArray:
    """Returns who may attend to whom, bool [batch, heads or 1, query_len, kv_len].

    The rules are those of ``Mask`` in the contract, pair by pair. ``query_lengths`` are the
    lengths of self-attention, ``kv_lengths``, or of cross-attention, ``query_len`` each: the
    caller says which. ``causal`` is "none", "upper_left" or "lower_right".
    """
    keys = [kv_len] * batch if kv_lengths is None else list(kv_lengths)
    stands = places(
        batch=batch,
        query_len=query_len,
        kv_len=kv_len,
        kv_lengths=kv_lengths,
        query_lengths=query_lengths,
        query_offsets=query_offsets,
        causal=causal,
    )
    left, right = window
    allowed = np.ones((batch, 1, query_len, kv_len), dtype=bool)
    for b in range(batch):
        for i in range(query_len):
            place = stands[b, i]
            for j in range(kv_len):
                if (
                    j >= keys[b]
                    or (causal != "none" and j > place)
                    or (left is not None and j < place - left)
                    or (right is not None and j > place + right)
                ):
                    allowed[b, 0, i, j] = False
    if key_mask is not None:
        allowed = allowed & np.asarray(key_mask, dtype=bool)[:, None, None, :]
    if attend_mask is not None:
        allowed = allowed & _four_dimensional(np.asarray(attend_mask, dtype=bool))
    return allowed


def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    scale: float | None = None,
    softcap: float = 0.0,
    attn_bias: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    ablated_heads: Sequence[int] = (),
) -> Attention:
    """Returns softmax(softcap(scale * Q K^T) + bias) V, head by head.

    Vaswani et al. 2017, "Attention Is All You Need", equation 1; the softcap is that of Gemma 2,
    ``softcap * tanh(scores / softcap)``, before bias and mask.

    Args:
        query: [batch, heads, query_len, head_dim].
        key: [batch, kv_heads, kv_len, head_dim]; query head h uses head h // (heads / kv_heads).
        value: [batch, kv_heads, kv_len, value_head_dim].
        scale: Factor on the dot products; 1 / sqrt(head_dim) if absent.
        softcap: Bound of the scores; 0 for none.
        attn_bias: Added to the scores, shaped as the contract's ``Mask.attn_bias``; -inf, and the
            lowest float32, forbid.
        allowed: Bool as ``may_attend`` returns it; all pairs if absent.
        ablated_heads: Heads whose output is set to 0.

    Returns:
        Every intermediate. A row that may attend to nothing has weights and head outputs 0 and
        log_sum_exp -inf.
    """
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = factor * (q @ k.swapaxes(-1, -2))  # [batch, heads, query_len, kv_len]

    logits = softcap * np.tanh(scores / softcap) if softcap else scores.copy()
    if attn_bias is not None:
        bias = _four_dimensional(np.asarray(attn_bias, dtype=np.float64))
        forbidden = bias <= float(np.finfo(np.float32).min)
        logits = np.where(forbidden, -np.inf, logits + np.where(forbidden, 0.0, bias))
    if allowed is not None:
        logits = np.where(np.asarray(allowed, dtype=bool), logits, -np.inf)

    largest = logits.max(axis=-1, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    exponentials = np.exp(logits - shift)
    denominator = exponentials.sum(axis=-1, keepdims=True)
    weights = exponentials / np.where(denominator == 0.0, 1.0, denominator)
    with np.errstate(divide="ignore"):
        log_sum_exp = (np.log(denominator) + shift)[..., 0]

    head_outputs = weights @ v
    head_outputs[:, list(ablated_heads)] = 0.0
    return Attention(scores, weights, head_outputs, log_sum_exp)


def multi_head_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    projections: Projections,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    scale: float | None = None,
    softcap: float = 0.0,
    attn_bias: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    ablated_heads: Sequence[int] = (),
) -> tuple[Float64Array, Attention]:
    """Returns the output of a whole layer [batch, query_len, output_dim] and what led to it.

    Args:
        query: [batch, query_len, query_dim].
        key: [batch, kv_len, key_dim].
        value: [batch, kv_len, value_dim].
        projections: W_Q, W_K, W_V and W_O with their biases.
        num_heads: Query heads.
        num_kv_heads: Key and value heads; as ``num_heads`` if absent.
        scale, softcap, attn_bias, allowed, ablated_heads: As ``attention`` takes them.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = attention(
        split_heads(_project(query, projections.w_q, projections.b_q), num_heads),
        split_heads(_project(key, projections.w_k, projections.b_k), kv_heads),
        split_heads(_project(value, projections.w_v, projections.b_v), kv_heads),
        scale=scale,
        softcap=softcap,
        attn_bias=attn_bias,
        allowed=allowed,
        ablated_heads=ablated_heads,
    )
    joined = combine_heads(heads.head_outputs)
    return _project(joined, projections.w_o, projections.b_o), heads


def rms_norm(x: ArrayLike, weight: ArrayLike, *, eps: float) -> Float64Array:
    """Returns x / sqrt(mean(x^2) + eps) * weight, the mean over the last dimension.

    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
    """
    rows = np.asarray(x, dtype=np.float64)
    root = np.sqrt((rows**2).mean(axis=-1, keepdims=True) + eps)
    normed: Float64Array = rows / root * np.asarray(weight, dtype=np.float64)
    return normed


def rotate(
    heads: ArrayLike, positions: ArrayLike, inverse_frequencies: ArrayLike, *, factor: float = 1.0
) -> Float64Array:
    """Returns heads turned by their positions, [batch, heads, length, head_dim].

    Pair i, (x_i, x_(n + i)) of n pairs, is turned by position * inverse_frequencies[i]; what is
    left of a head passes. Su et al. 2021, "RoFormer", equation 34, in pairs of halves. Angles are
    rounded to float32, in which models were trained: at position 100,000 a float64 angle is
    another one.

    Args:
        heads: [batch, heads, length, head_dim].
        positions: Whole numbers [batch, length].
        inverse_frequencies: Radians a position, float32 [n], 2 n <= head_dim.
        factor: What cosines and sines are multiplied with.
    """
    x = np.asarray(heads, dtype=np.float64)
    frequencies = np.asarray(inverse_frequencies, dtype=np.float32)
    angles = (np.asarray(positions, np.float32)[..., None] * frequencies)[:, None]
    cosines = factor * np.cos(angles, dtype=np.float64)  # [batch, 1, length, n]
    sines = factor * np.sin(angles, dtype=np.float64)
    n = len(frequencies)
    first, second, rest = x[..., :n], x[..., n : 2 * n], x[..., 2 * n :]
    return np.concatenate(
        (first * cosines - second * sines, second * cosines + first * sines, rest), axis=-1
    )


def relative_bias(
    table: ArrayLike, query_positions: ArrayLike, key_positions: ArrayLike
) -> Float64Array:
    """Returns what is added to the scores for the distance, [batch, heads, query_len, kv_len].

    Args:
        table: Biases at the distances -reach .. reach, key - query, [heads, 2 * reach + 1];
            larger distances count as reach.
        query_positions: Whole numbers [batch, query_len].
        key_positions: Whole numbers [batch, kv_len].
    """
    biases = np.asarray(table, dtype=np.float64)
    reach = (biases.shape[1] - 1) // 2
    queries, keys = (np.asarray(p, dtype=np.int64) for p in (query_positions, key_positions))
    distances = keys[:, None, :] - queries[:, :, None]  # [batch, query_len, kv_len]
    places = np.clip(distances, -reach, reach) + reach
    bias: Float64Array = biases[:, places].swapaxes(0, 1)
    return bias


def split_heads(joined: ArrayLike, heads: int) -> Float64Array:
    """Returns [batch, length, heads * size] as [batch, heads, length, size]."""
    x = np.asarray(joined, dtype=np.float64)
    batch, length, width = x.shape
    split: Float64Array = x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
    return split


def combine_heads(heads: ArrayLike) -> Float64Array:
    """Returns [batch, heads, length, size] as [batch, length, heads * size]."""
    x = np.asarray(heads, dtype=np.float64)
    batch, count, length, size = x.shape
    joined: Float64Array = x.transpose(0, 2, 1, 3).reshape(batch, length, count * size)
    return joined


def _project(x: ArrayLike, w: ArrayLike, b: ArrayLike) -> Float64Array:
    projected: Float64Array = np.asarray(x, np.float64) @ np.asarray(w, np.float64) + np.asarray(
        b, np.float64
    )
    return projected


_ArrayT = TypeVar("_ArrayT", Float64Array, BoolArray)


def _four_dimensional(mask: _ArrayT) -> _ArrayT:
    """Returns [query_len, kv_len] or [batch, query_len, kv_len] with a heads dimension of 1."""
    if mask.ndim == 2:
        return mask[None, None]
    return mask[:, None] if mask.ndim == 3 else mask
