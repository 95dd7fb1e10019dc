"""Pairs of positions that belong together, and the weight that heads put on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attention_service.row_sums import BoolArray, FloatArray, Int64Array

__all__ = ["RelationPairs", "Relations"]

Relations: TypeAlias = Mapping[str, NDArray[np.int64]]
"""Pairs by the name of their relation: int64 [pairs, 3], each (sequence, query, key)."""


class RelationPairs:
    """The pairs of all relations.

    Args:
        relations: The pairs.
        queries: Queries of a sequence.
    """

    def __init__(self, relations: Relations, queries: int) -> None:
        self.names = tuple(relations)
        counts = [len(pairs) for pairs in relations.values()]
        pairs = np.concatenate([np.empty((0, 3), np.int64), *relations.values()])
        relation = np.repeat(np.arange(len(counts)), counts)
        # In the order of their rows: so those of a block stand close to each other.
        row = pairs[:, 0] * queries + pairs[:, 1]
        order = np.argsort(row, kind="stable")
        self._queries = queries
        self._row, self._pairs, self._relation = row[order], pairs[order], relation[order]

    def sums(
        self, weights: FloatArray, rows: BoolArray, sequence: int, query: int, key: int
    ) -> tuple[FloatArray, Int64Array]:
        """Returns what a block's heads put on the pairs, and on how many, [heads, relations] each.

        Args:
            weights: [sequences, heads, queries, keys].
            rows: Which rows count, bool [sequences, heads, queries].
            sequence: Index of the block's first sequence.
            query: Index of its first query.
            key: Index of its first key; what lies outside the block has weight 0.
        """
        sequences, heads, queries, keys = weights.shape
        first = sequence * self._queries + query
        last = (sequence + sequences - 1) * self._queries + query + queries
        found = slice(*np.searchsorted(self._row, (first, last)))
        b, q, k = (self._pairs[found] - (sequence, query, key)).T
        here = (q >= 0) & (q < queries)  # with several sequences others lie between
        b, q, k, relation = b[here], q[here], k[here], self._relation[found][here]
        inside = (k >= 0) & (k < keys)
        counted = rows[b, :, q]  # [pairs, heads]
        on_pairs = np.where(
            inside[:, None] & counted, weights[b, :, q, np.where(inside, k, 0)], 0.0
        )
        # Relation and head as one number, so that each sum is of one bin.
        bins = (np.arange(heads) * len(self.names) + relation[:, None]).ravel()
        shape, size = (heads, len(self.names)), heads * len(self.names)
        sums: FloatArray = np.bincount(bins, on_pairs.ravel(), size).astype(np.float64)
        counts = np.bincount(bins, counted.ravel(), size).astype(np.int64)
        return sums.reshape(shape), counts.reshape(shape)
