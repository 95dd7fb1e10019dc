"""Requests that can be computed as one: which fit together, how they are joined and split.

They are joined along the batch and padded with zeros to the longest of them. Lengths say all that
padding asks for: padded keys lie behind a sequence's own, out of sight, and padded queries are cut
off again. What depends on the place of a query follows from its sequence's own lengths, as before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attention_server.domain.masks import fully_masked_rows
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Float32Array,
    Int32Array,
    Mask,
    Rows,
    WeightRows,
)

__all__ = ["batch_key", "join", "split"]

_LARGEST_POSITION = np.iinfo(np.int32).max


def batch_key(request: AttendRequest) -> Hashable | None:
    """Returns what requests that can be computed together have in common; None for alone.

    It holds no tensor, and says nothing of lengths: that is for who pays for the padding.
    Alone are requests with a mask over keys or pairs, a bias, offsets or ablated heads or for an
    analysis, which are rare and cost too much to pad, and those to a model that comes whole: nobody
    knows what its rows do to each other.
    """
    mask, settings, outputs = request.mask, request.settings, request.outputs
    if (
        mask.key_mask is not None
        or mask.attend_mask is not None
        or mask.attn_bias is not None
        or mask.query_offsets is not None
        or request.ablated_heads
        or outputs.analysis is not None
        or not settings.scale  # a model that comes whole keeps it to itself
    ):
        return None
    return (
        request.model,
        settings,
        request.query.shape[2],
        request.key.shape[2],
        request.value.shape[2],
        request.key is request.query,
        request.value is request.key,
        outputs.output,
        outputs.projections,
        outputs.head_outputs,
        outputs.log_sum_exp,
        _rows_key(outputs.weights),
        _rows_key(outputs.scores),
    )


def join(requests: Sequence[AttendRequest]) -> AttendRequest:
    """Returns one request for all, which share a batch key, padded to the longest of them.

    ``key is query`` and ``value is key`` where they are so in each.
    """
    first = requests[0]
    query_len = max(request.query_len for request in requests)
    kv_len = max(request.kv_len for request in requests)
    query = _padded([request.query for request in requests], query_len)
    key = value = query
    if first.key is not first.query:
        key = value = _padded([request.key for request in requests], kv_len)
    if first.value is not first.key:
        value = _padded([request.value for request in requests], kv_len)
    return replace(
        first,
        query=query,
        key=key,
        value=value,
        mask=Mask(
            kv_lengths=np.concatenate([request.mask.kv_lengths for request in requests]),
            query_lengths=np.concatenate([request.mask.query_lengths for request in requests]),
        ),
        query_positions=_positions(requests, lambda request: request.query_positions, query_len),
        key_positions=_positions(requests, lambda request: request.key_positions, kv_len),
    )


def split(result: AttendResult, requests: Sequence[AttendRequest]) -> list[AttendResult]:
    """Returns the answer of each request, without padding, from that of the joined one.

    Its tensors are copies: a view would keep those of all in memory for as long as one is read.
    """
    execution = replace(result.execution, batched_requests=len(requests))
    tensors = result.tensors()
    answers = []
    for request, sequences in zip(requests, _sequences(requests), strict=True):
        own: dict[str, Any] = {
            name: tensor[_own(name, request, sequences)].copy() for name, tensor in tensors.items()
        }
        blind = fully_masked_rows(request) if result.fully_masked_rows else 0
        answers.append(AttendResult(fully_masked_rows=blind, execution=execution, **own))
    return answers


def _rows_key(rows: Rows | None) -> Hashable:
    if rows is None:
        return None
    heads = None if rows.heads is None else rows.heads.tobytes()
    queries = None if rows.query_indices is None else rows.query_indices.tobytes()
    if isinstance(rows, WeightRows):
        return heads, queries, rows.average_heads, rows.top_k
    return heads, queries


def _sequences(requests: Sequence[AttendRequest]) -> Iterator[slice]:
    """Yields where the sequences of each request stand among those of all."""
    start = 0
    for request in requests:
        yield slice(start, start + request.batch)
        start += request.batch


def _padded(parts: Sequence[Float32Array], length: int) -> Float32Array:
    """Returns all sequences [batch, length, width], zeros behind their own length."""
    if all(part.shape[1] == length for part in parts):
        return np.concatenate(parts)
    batch = sum(part.shape[0] for part in parts)
    joined = np.zeros((batch, length, parts[0].shape[2]), np.float32)
    start = 0
    for part in parts:
        joined[start : start + part.shape[0], : part.shape[1]] = part
        start += part.shape[0]
    return joined


def _positions(
    requests: Sequence[AttendRequest],
    positions_of: Callable[[AttendRequest], Int32Array | None],
    length: int,
) -> Int32Array | None:
    """Returns the positions of all sequences [batch, length]; None where none are used.

    Padding goes on from the last position: so sequences that count alike have the same positions,
    whatever their length, and one bias does for all of them.
    """
    if positions_of(requests[0]) is None:
        return None
    joined = np.empty((sum(request.batch for request in requests), length), np.int32)
    for request, sequences in zip(requests, _sequences(requests), strict=True):
        own = positions_of(request)
        assert own is not None, "requests to one model have positions, or none has"
        own_len = own.shape[1]
        joined[sequences, :own_len] = own
        beyond = own[:, -1:] + np.arange(1, length - own_len + 1, dtype=np.int64)
        joined[sequences, own_len:] = np.minimum(beyond, _LARGEST_POSITION)
    return joined


def _own(name: str, request: AttendRequest, sequences: slice) -> tuple[slice, ...]:
    """Returns a request's own part of a tensor of the answer."""
    queries, keys, everything = slice(request.query_len), slice(request.kv_len), slice(None)
    outputs = request.outputs
    if name == "output":
        return (sequences, queries)
    if name in ("key_heads", "value_heads"):
        return (sequences, everything, keys)
    if name in ("query_heads", "head_outputs", "log_sum_exp"):
        return (sequences, everything, queries)
    rows = outputs.scores if name == "scores" else outputs.weights
    assert rows is not None, "only what was asked for is there"
    # Selected queries are as many for each request; the largest weights are no more than its keys.
    selected = queries if rows.query_indices is None else everything
    return (sequences, everything, selected, keys)
