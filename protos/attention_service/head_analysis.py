"""What each head attends to, in figures, from blocks of its weights: ``HeadAnalysis``.

Every figure is defined in the contract. ``head_measures`` computes the same row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from attention_service.head_patterns import HeadPattern, strongest_pattern
from attention_service.head_relations import RelationPairs, Relations
from attention_service.row_sums import BoolArray, FloatArray, Int64Array, row_sums

__all__ = ["HeadAnalysis", "HeadAnalyzer", "Relations"]

LOCAL = 2
"""Keys this far from the row's place, or nearer, are local."""

_OFFSETS = {"previous_share": -1, "self_share": 0, "next_share": 1}
_FIGURES = (
    "entropy",
    "normalized_entropy",
    "max_weight",
    "mean_distance",
    *_OFFSETS,
    "first_share",
    "local_share",
)


@dataclass(frozen=True)
class HeadAnalysis:
    """What one head attends to: means over the rows of real queries that have a key in sight.

    A figure is None where no row has it; those that count from a row's place, where queries have
    none.
    """

    head: int
    """Index of the head."""
    rows: int
    """Rows that the figures are taken over."""
    entropy: float | None = None
    """Entropy of the weights, nats."""
    normalized_entropy: float | None = None
    """Entropy over the logarithm of the number of keys in sight, of rows that see two or more."""
    max_weight: float | None = None
    """Largest weight of the row."""
    mean_distance: float | None = None
    """Sum of weight * |place - key|, positions."""
    self_share: float | None = None
    """Weight on the place."""
    previous_share: float | None = None
    """Weight on the place - 1."""
    next_share: float | None = None
    """Weight on the place + 1."""
    first_share: float | None = None
    """Weight on the lowest key that is not padding."""
    local_share: float | None = None
    """Weight on the keys at most 2 positions from the place."""
    pattern: HeadPattern = "none"
    """The strongest pattern; ``head_patterns`` says when which."""
    relation: str = ""
    """Name of the relation, with the pattern "relation"."""
    relation_shares: Mapping[str, float] = field(default_factory=dict)
    """Mean weight on the pairs of each relation whose row sees a key, by name."""


class HeadAnalyzer:
    """Takes blocks of weights, which together hold every row once; gives the figures of all.

    Sums are float64 and as many as there are heads, whatever the lengths.

    Args:
        heads: The index of each head, in the order in which blocks hold them.
        real_queries: Which queries are no padding, bool [batch, queries].
        first_keys: The lowest key of each sequence that is not padding, int64 [batch].
        places: Place of each query on the key axis, int64 [batch or 1, queries]; None where
            queries have none.
        relations: Pairs to measure the heads against, queries counted as blocks count them.
    """

    def __init__(
        self,
        *,
        heads: Sequence[int],
        real_queries: BoolArray,
        first_keys: Int64Array,
        places: Int64Array | None,
        relations: Relations | None = None,
    ) -> None:
        self._heads = heads
        self._real = real_queries
        self._first_keys = first_keys
        self._places = None if places is None else np.broadcast_to(places, real_queries.shape)
        self._rows = np.zeros(len(heads), np.int64)
        self._means = {name: _Mean.of(len(heads)) for name in _FIGURES}
        self._pairs = RelationPairs(relations or {}, real_queries.shape[1])
        self._on_pairs = _Mean.of(len(heads), len(self._pairs.names))

    def add(
        self,
        weights: FloatArray,
        in_sight: BoolArray | None = None,
        *,
        sequence: int = 0,
        head: int = 0,
        query: int = 0,
        key: int = 0,
    ) -> None:
        """Takes a block of weights [sequences, heads, queries, keys].

        Its rows have all their weight in it: keys that are not in the block are out of their sight.

        Args:
            weights: After softmax, those of rows that see nothing 0.
            in_sight: Which keys a row may attend to, bool [sequences or 1, heads or 1, queries or
                1, keys]; None for all.
            sequence: Index of the block's first sequence.
            head: Place of its first head in ``heads``.
            query: Index of its first query.
            key: Index of its first key.
        """
        sequences, heads, queries, keys = weights.shape
        some = slice(sequence, sequence + sequences), slice(query, query + queries)
        own_heads = slice(head, head + heads)
        keys_seen = keys if in_sight is None else in_sight.sum(axis=-1)
        keys_seen = np.broadcast_to(keys_seen, weights.shape[:3])
        rows = self._real[some][:, None] & (keys_seen > 0)  # [sequences, heads, queries]
        self._rows[own_heads] += rows.sum(axis=(0, 2))

        def put(name: str, values: FloatArray, where: BoolArray) -> None:
            self._means[name].put(own_heads, values, where)

        block = _Block(weights, in_sight)
        first_keys = self._first_keys[some[0], None] - key  # [sequences, 1]
        first = block.at(np.broadcast_to(first_keys, (sequences, queries)))
        put("first_share", first.weights, rows & first.in_sight)
        places = None if self._places is None else self._places[some] - key
        if places is not None:
            near = {offset: block.at(places + offset) for offset in range(-LOCAL, LOCAL + 1)}
            for name, offset in _OFFSETS.items():
                put(name, near[offset].weights, rows & near[offset].in_sight)
            put("local_share", sum((at.weights for at in near.values()), np.float64(0)), rows)
        sums = row_sums(weights, places)
        put("entropy", sums.entropy, rows)
        put("max_weight", sums.largest, rows)
        if sums.distance is not None:
            put("mean_distance", sums.distance, rows)
        several = rows & (keys_seen > 1)
        most = np.log(np.maximum(keys_seen, 2))
        put("normalized_entropy", sums.entropy / most, several)
        self._on_pairs.add(own_heads, *self._pairs.sums(weights, rows, sequence, query, key))

    def result(self) -> list[HeadAnalysis]:
        """Returns the figures of each head, in order, once every block was taken."""
        return [self._of_head(at, head) for at, head in enumerate(self._heads)]

    def _of_head(self, at: int, head: int) -> HeadAnalysis:
        figures = {name: mean.of_head(at)[0] for name, mean in self._means.items()}
        of_pairs = zip(self._pairs.names, self._on_pairs.of_head(at), strict=True)
        relation_shares = {name: share for name, share in of_pairs if share is not None}
        pattern = strongest_pattern(figures, relation_shares)
        return HeadAnalysis(
            head=head,
            rows=int(self._rows[at]),
            **figures,
            pattern=pattern.name,
            relation=pattern.relation,
            relation_shares=relation_shares,
        )


class _Mean(NamedTuple):
    """Means to come, of each head."""

    sums: FloatArray  # float64 [heads, means]
    counts: Int64Array  # [heads, means]

    @classmethod
    def of(cls, heads: int, means: int = 1) -> _Mean:
        return cls(np.zeros((heads, means)), np.zeros((heads, means), np.int64))

    def put(self, heads: slice, values: FloatArray, where: BoolArray) -> None:
        """Takes one value a row [sequences, heads, queries], where the row has one."""
        total = np.where(where, values, 0.0).sum(axis=(0, 2), dtype=np.float64)
        self.add(heads, total[:, None], where.sum(axis=(0, 2))[:, None])

    def add(self, heads: slice, sums: FloatArray, counts: Int64Array) -> None:
        """Takes sums of values and how many they were [heads, means]."""
        self.sums[heads] += sums
        self.counts[heads] += counts

    def of_head(self, at: int) -> list[float | None]:
        """Returns a head's means; None where there was no value."""
        pairs = zip(self.sums[at].tolist(), self.counts[at].tolist(), strict=True)
        return [total / count if count else None for total, count in pairs]


class _AtKeys(NamedTuple):
    """One cell of each row, those of keys outside the block 0 and out of sight."""

    weights: FloatArray  # [sequences, heads, queries]
    in_sight: BoolArray  # as weights


class _Block(NamedTuple):
    """Weights and sight of a block."""

    weights: FloatArray  # [sequences, heads, queries, keys]
    in_sight: BoolArray | None  # broadcasts to weights; None for all

    def at(self, keys: Int64Array) -> _AtKeys:
        """Returns what stands at one key of each query [sequences, queries]."""
        sequences, _, queries, kv_len = self.weights.shape
        inside = (keys >= 0) & (keys < kv_len)
        cells = (
            np.arange(sequences)[:, None],
            slice(None),
            np.arange(queries),
            np.where(inside, keys, 0),
        )
        there = inside[:, None]  # [sequences, 1, queries]
        weights = np.where(there, np.moveaxis(self.weights[cells], 2, 1), 0.0)
        if self.in_sight is not None:
            in_sight = np.broadcast_to(self.in_sight, self.weights.shape)
            there = there & np.moveaxis(in_sight[cells], 2, 1)
        return _AtKeys(weights, there)
