"""The part of the scores and weights that was asked for, gathered block by block."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.masks import Block
from attention_server.domain.request import (
    AttendRequest,
    BoolArray,
    Float32Array,
    Outputs,
    Rows,
    WeightRows,
)

__all__ = ["Needed", "RowGatherer", "TopWeights", "WeightGatherer", "largest_weights"]

_Indices = NDArray[np.intp]


class Needed(NamedTuple):
    """The rows that an answer cannot do without: of these heads and queries, None for all."""

    heads: _Indices | None
    """Ascending, each once."""
    queries: _Indices | None
    """Ascending, each once."""

    @classmethod
    def by(cls, outputs: Outputs) -> Needed:
        """Returns the rows that these outputs are made of."""
        if outputs.output or outputs.head_outputs or outputs.log_sum_exp or outputs.projections:
            return cls(None, None)
        if outputs.analysis is not None:
            return cls(None, None)
        selections = [rows for rows in (outputs.weights, outputs.scores) if rows is not None]
        return cls(
            _union([rows.heads for rows in selections]),
            _union([rows.query_indices for rows in selections]),
        )

    def alone(self, request: AttendRequest) -> AttendRequest:
        """Returns a request without the queries that are not needed.

        Its masks are those of all queries still.
        """
        if self.queries is None:
            return request
        positions = request.query_positions
        outputs = request.outputs
        return replace(
            request,
            query=request.query[:, self.queries],
            query_positions=None if positions is None else positions[:, self.queries],
            outputs=replace(
                outputs,
                weights=self._among(outputs.weights),
                scores=self._among(outputs.scores),
            ),
        )

    def _among(self, rows: _SomeRows | None) -> _SomeRows | None:
        """Returns a selection with the place of each query among those needed."""
        if rows is None or rows.query_indices is None or self.queries is None:
            return rows
        return replace(rows, query_indices=np.searchsorted(self.queries, rows.query_indices))


_SomeRows = TypeVar("_SomeRows", bound=Rows)


def _union(selections: list[_Indices | None]) -> _Indices | None:
    """Returns all indices of some selections, None where any takes all."""
    chosen = [indices for indices in selections if indices is not None]
    if len(chosen) < len(selections):
        return None
    return reduce(np.union1d, chosen, np.empty(0, np.intp))


class RowGatherer:
    """Gathers selected rows [batch, selected heads, selected queries, row] from blocks of all.

    Keys that no block holds have 0.
    """

    def __init__(self, rows: Rows, request: AttendRequest) -> None:
        self._rows = rows
        self._shape = (
            request.batch,
            request.settings.num_heads if rows.heads is None else len(rows.heads),
            request.query_len if rows.query_indices is None else len(rows.query_indices),
            request.kv_len,
        )
        self._gathered: Float32Array | None = None

    def put(self, block: Block, values: Float32Array) -> None:
        """Takes what is selected from a block's values [batch, heads, queries, keys]."""
        everything = self._rows.heads is None and self._rows.query_indices is None
        if everything and values.shape == self._shape:
            self._gathered = values  # the only block: no copy
            return
        if self._gathered is None:
            self._gathered = np.zeros(self._shape, np.float32)
        to_heads, from_heads = _within(self._rows.heads, block.heads)
        to_queries, from_queries = _within(self._rows.query_indices, block.queries)
        target = self._gathered[block.batch, ..., block.keys]
        target[_cross(to_heads, to_queries)] = values[_cross(from_heads, from_queries)]

    def result(self) -> Float32Array:
        """Returns the rows, once every block was put."""
        assert self._gathered is not None, "no block was put"
        return self._gathered


class TopWeights(NamedTuple):
    """The largest weights of each row, largest first."""

    weights: Float32Array  # [batch, heads, queries, top_k]
    key_indices: NDArray[np.int32]  # as weights; -1, with weight 0, beyond the keys in sight


_RowsT = TypeVar("_RowsT", Float32Array, NDArray[np.int32])


class WeightGatherer:
    """Gathers selected weights: first heads and queries, then the mean, then the largest.

    Blocks of the same queries must come one after the other, the one with the last heads last.
    """

    def __init__(self, rows: WeightRows, request: AttendRequest) -> None:
        self._kv_len = request.kv_len
        self._as_they_are: RowGatherer | None = None
        if not rows.average_heads and not rows.top_k:
            self._as_they_are = RowGatherer(rows, request)
            return
        # A head or query may be asked for many times over: it is reduced once, and repeated after.
        self._heads = _Distinct.of(rows.heads, request.settings.num_heads)
        self._queries = _Distinct.of(rows.query_indices, request.query_len)
        self._average, self._top_k = rows.average_heads, rows.top_k
        heads = 1 if rows.average_heads else len(self._heads.indices)
        shape = (request.batch, heads, len(self._queries.indices), rows.top_k or request.kv_len)
        self._weights = np.empty(shape, np.float32)
        self._key_indices = np.empty(shape, np.int32) if rows.top_k else None
        self._head_sum: Float32Array | None = None
        self._head_sight: BoolArray | None = None

    def put(self, block: Block, weights: Float32Array, in_sight: BoolArray | None) -> None:
        """Takes what is selected from a block's weights [batch, heads, queries, keys].

        ``in_sight`` broadcasts to the weights; None for all of the block's keys.
        """
        if self._as_they_are is not None:
            self._as_they_are.put(block, weights)
            return
        to_heads, from_heads = _within(self._heads.indices, block.heads)
        to_queries, from_queries = _within(self._queries.indices, block.queries)
        if not (_size(to_heads) and _size(to_queries)):
            return
        selection = _cross(from_heads, from_queries)
        part = weights[selection]
        sight = None if in_sight is None else np.broadcast_to(in_sight, weights.shape)[selection]
        if part.shape[-1] < self._kv_len:
            seen = np.ones_like(part, np.bool_) if sight is None else sight
            part, sight = (_widened(rows, block.keys, self._kv_len) for rows in (part, seen))
        if self._average:
            self._accumulate(part, sight, self._heads.counts[to_heads])
            if block.heads.stop <= self._heads.indices[-1]:
                return
            part, sight = self._mean()
            to_heads = slice(0, 1)
        target = _cross(to_heads, to_queries)
        if self._key_indices is None:
            self._weights[block.batch][target] = part
            return
        top = largest_weights(part, sight, self._top_k)
        self._weights[block.batch][target] = top.weights
        self._key_indices[block.batch][target] = top.key_indices

    def result(self) -> tuple[Float32Array, NDArray[np.int32] | None]:
        """Returns the weights, and the key index of each with top_k, once every block was put."""
        if self._as_they_are is not None:
            return self._as_they_are.result(), None
        weights, key_indices = self._repeated(self._weights), self._key_indices
        return weights, None if key_indices is None else self._repeated(key_indices)

    def _repeated(self, rows: _RowsT) -> _RowsT:
        if self._heads.order is not None and not self._average:
            rows = rows[:, self._heads.order]
        return rows if self._queries.order is None else rows[:, :, self._queries.order]

    def _accumulate(
        self, part: Float32Array, sight: BoolArray | None, counts: NDArray[np.intp]
    ) -> None:
        times = counts.astype(np.float32)[:, None, None]
        total = (part * times).sum(axis=1, keepdims=True)
        self._head_sum = total if self._head_sum is None else self._head_sum + total
        if sight is not None:
            seen: BoolArray = np.logical_or.reduce(sight, axis=1, keepdims=True)
            self._head_sight = seen if self._head_sight is None else self._head_sight | seen

    def _mean(self) -> tuple[Float32Array, BoolArray | None]:
        assert self._head_sum is not None, "no block was put"
        mean, sight = self._head_sum / np.float32(self._heads.counts.sum()), self._head_sight
        self._head_sum, self._head_sight = None, None
        return mean, sight


class _Distinct(NamedTuple):
    """Indices without their repeats."""

    indices: NDArray[np.intp]
    """Each once, ascending."""
    counts: NDArray[np.intp]
    """How often each was given."""
    order: NDArray[np.intp] | None
    """Where each that was given stands in ``indices``; None where they are the same list."""

    @classmethod
    def of(cls, given: NDArray[np.intp] | None, size: int) -> _Distinct:
        if given is None:
            return cls(np.arange(size), np.ones(size, np.intp), None)
        indices, order, counts = np.unique(given, return_inverse=True, return_counts=True)
        return cls(indices, counts, order)


def largest_weights(weights: Float32Array, in_sight: BoolArray | None, top_k: int) -> TopWeights:
    """Returns the top_k largest weights of each row, of equals the smaller index first.

    Args:
        weights: float32 [batch, heads, queries, kv_len], 0 or more.
        in_sight: bool, as weights; None for all.
        top_k: 1 .. kv_len.
    """
    kv_len = weights.shape[-1]
    # Weight and index in one number that orders as asked for: floats of 0 or more order as their
    # bits do, and of equal weights the smaller index must win.
    order = np.ascontiguousarray(weights).view(np.int32).astype(np.int64) << 32
    order += np.arange(kv_len - 1, -1, -1)
    if in_sight is not None:
        order[~in_sight] = -1
    top = np.partition(order, kv_len - top_k, axis=-1)[..., kv_len - top_k :]
    top = np.sort(top, axis=-1)[..., ::-1]
    found = top >= 0
    key_indices = np.where(found, kv_len - 1 - (top & 0xFFFFFFFF), -1).astype(np.int32)
    values = np.where(found, top >> 32, 0).astype(np.int32).view(np.float32)
    return TopWeights(values, key_indices)


_Axis = slice | NDArray[np.intp]


def _widened(rows: NDArray[Any], keys: slice, kv_len: int) -> NDArray[Any]:
    """Returns rows over some keys as rows over all, with 0 for the others."""
    wide = np.zeros((*rows.shape[:-1], kv_len), rows.dtype)
    wide[..., keys] = rows
    return wide


def _within(selected: NDArray[np.intp] | None, part: slice) -> tuple[_Axis, _Axis]:
    """Returns where the selected indices inside a part stand in the answer and in the part."""
    if selected is None:
        return part, slice(0, part.stop - part.start)
    positions = np.flatnonzero((selected >= part.start) & (selected < part.stop))
    return positions, selected[positions] - part.start


def _cross(heads: _Axis, queries: _Axis) -> tuple[Any, ...]:
    """Returns the index of every pair of these heads and queries, behind the batch."""
    if isinstance(heads, slice) and isinstance(queries, slice):
        return slice(None), heads, queries
    return slice(None), _indices(heads)[:, None], _indices(queries)


def _size(axis: _Axis) -> int:
    return axis.stop - axis.start if isinstance(axis, slice) else len(axis)


def _indices(axis: _Axis) -> NDArray[np.intp]:
    return np.arange(axis.start, axis.stop) if isinstance(axis, slice) else axis
