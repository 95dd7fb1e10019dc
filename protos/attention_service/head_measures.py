"""What each head attends to, in figures: ``HeadAnalysis`` of the contract in float64 numpy.

Row by row, straight from the contract's words, and slow on purpose: what everything else is
compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["HeadMeasures", "Pairs", "head_measures"]

Pairs = Sequence[tuple[int, int, int]]
"""Pairs of positions that belong together: (sequence, query, key) each."""

LOCAL = 2
"""Keys this far from the row's place, or nearer, are local."""


@dataclass(frozen=True)
class HeadMeasures:
    """The figures of one head: means over the rows of real queries that have a key in sight.

    A figure is None where no row has it. Names and meanings are those of ``HeadAnalysis``.
    """

    head: int
    rows: int
    """Rows that the figures are taken over."""
    entropy: float | None
    """Entropy of the weights, nats."""
    normalized_entropy: float | None
    """Entropy over the logarithm of the keys in sight, of rows that see two or more."""
    max_weight: float | None
    mean_distance: float | None
    """Sum of weight * |place - key|, positions."""
    self_share: float | None
    previous_share: float | None
    next_share: float | None
    first_share: float | None
    """Weight on the lowest key that is not padding."""
    local_share: float | None
    """Weight on the keys at most ``LOCAL`` positions away."""
    relation_shares: Mapping[str, float]
    """Mean weight on the pairs of each relation that has a pair in these rows."""


def head_measures(
    weights: ArrayLike,
    *,
    in_sight: ArrayLike,
    places: ArrayLike | None = None,
    query_lengths: Sequence[int] | None = None,
    real_keys: ArrayLike | None = None,
    relations: Mapping[str, Pairs] | None = None,
) -> list[HeadMeasures]:
    """Returns the figures of each head, in order.

    Args:
        weights: After softmax, [batch, heads, query_len, kv_len].
        in_sight: Bool that broadcasts to the weights: which keys a row may attend to.
        places: Place of each query on the key axis, integers [batch or 1, query_len]; absent where
            queries have none, and with it the figures that need one.
        query_lengths: Real queries of each sequence; all if absent.
        real_keys: Which keys are no padding, bool [batch or 1, kv_len]; all if absent.
        relations: Pairs by the name of their relation.
    """
    w = np.asarray(weights, dtype=np.float64)
    batch, heads, query_len, kv_len = w.shape
    sight = np.broadcast_to(np.asarray(in_sight, dtype=bool), w.shape)
    lengths = [query_len] * batch if query_lengths is None else list(query_lengths)
    real = np.ones((batch, kv_len), dtype=bool)
    if real_keys is not None:
        real = real & np.asarray(real_keys, dtype=bool)
    place = None if places is None else np.broadcast_to(np.asarray(places), (batch, query_len))

    measured = []
    for head in range(heads):
        rows = {}  # (sequence, query): the row's figures
        for b in range(batch):
            first = int(real[b].argmax())
            for i in range(lengths[b]):
                if sight[b, head, i].any():
                    p = None if place is None else int(place[b, i])
                    rows[b, i] = _figures(w[b, head, i], sight[b, head, i], p, first)
        shares = {}
        for name, pairs in (relations or {}).items():
            on_pairs = [w[b, head, i, j] for b, i, j in pairs if (b, i) in rows]
            if on_pairs:
                shares[name] = float(np.mean(on_pairs))
        measured.append(_means(head, list(rows.values()), shares))
    return measured


def _figures(
    weights: NDArray[np.float64],  # [kv_len]
    sight: NDArray[np.bool_],  # [kv_len]
    place: int | None,
    first: int,
) -> dict[str, float]:
    """Returns the figures that one row has."""
    positive = weights[weights > 0.0]  # as 0 log 0 is 0
    entropy = -float((positive * np.log(positive)).sum())
    figures = {"entropy": entropy, "max_weight": float(weights.max())}
    if sight.sum() >= 2:
        figures["normalized_entropy"] = entropy / float(np.log(sight.sum()))
    at_key = {"first_share": first}
    if place is not None:
        distance = np.abs(place - np.arange(len(weights)))  # [kv_len]
        figures["mean_distance"] = float((weights * distance).sum())
        figures["local_share"] = float(weights[distance <= LOCAL].sum())
        at_key |= {"self_share": place, "previous_share": place - 1, "next_share": place + 1}
    for name, key in at_key.items():
        if 0 <= key < len(weights) and sight[key]:
            figures[name] = float(weights[key])
    return figures


def _means(
    head: int, rows: Sequence[Mapping[str, float]], relation_shares: Mapping[str, float]
) -> HeadMeasures:
    def mean(name: str) -> float | None:
        have_it = [row[name] for row in rows if name in row]
        return float(np.mean(have_it)) if have_it else None

    return HeadMeasures(
        head=head,
        rows=len(rows),
        entropy=mean("entropy"),
        normalized_entropy=mean("normalized_entropy"),
        max_weight=mean("max_weight"),
        mean_distance=mean("mean_distance"),
        self_share=mean("self_share"),
        previous_share=mean("previous_share"),
        next_share=mean("next_share"),
        first_share=mean("first_share"),
        local_share=mean("local_share"),
        relation_shares=relation_shares,
    )
