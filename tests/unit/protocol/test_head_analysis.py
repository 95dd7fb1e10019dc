"""The figures of heads from blocks of weights: the same as row by row, however they are cut."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_service.head_analysis import HeadAnalysis, HeadAnalyzer
from attention_service.head_measures import HeadMeasures, head_measures

FIGURES = tuple(name for name in HeadMeasures.__dataclass_fields__ if name != "relation_shares")
FLOAT32 = 1e-6
"""Rows are summed up in float32: to so much, relative and absolute."""


class Weights(NamedTuple):
    """Weights, what can be seen of them, and where their rows stand."""

    weights: NDArray[np.float32]  # [batch, heads, queries, keys]
    in_sight: NDArray[np.bool_]  # broadcasts to the weights
    places: NDArray[np.int64] | None
    query_lengths: NDArray[np.int64]
    real_keys: NDArray[np.bool_]
    relations: dict[str, NDArray[np.int64]]

    def by_blocks(self, *cuts: int) -> list[HeadAnalysis]:
        """Returns the figures from blocks of so many sequences, heads and queries.

        Of each block without the keys at its ends that none of its rows sees.
        """
        batch, heads, queries, _keys = self.weights.shape
        analyzer = HeadAnalyzer(
            heads=range(heads),
            real_queries=np.arange(queries) < self.query_lengths[:, None],
            first_keys=self.real_keys.argmax(axis=1),
            places=self.places,
            relations=self.relations,
        )
        for b in range(0, batch, cuts[0]):
            for h in range(0, heads, cuts[1]):
                for q in range(0, queries, cuts[2]):
                    at = (slice(b, b + cuts[0]), slice(h, h + cuts[1]), slice(q, q + cuts[2]))
                    own = tuple(
                        part if size > 1 else slice(None)
                        for part, size in zip(at, self.in_sight.shape, strict=False)
                    )
                    sight = self.in_sight[own]
                    seen = np.flatnonzero(sight.any(axis=(0, 1, 2)))
                    some = slice(seen[0], seen[-1] + 1) if len(seen) else slice(0, 1)
                    sight = sight[..., some]
                    analyzer.add(
                        self.weights[at][..., some],
                        None if sight.all() else sight,
                        sequence=b,
                        head=h,
                        query=q,
                        key=some.start,
                    )
        return analyzer.result()

    def row_by_row(self) -> list[HeadMeasures]:
        return head_measures(
            self.weights,
            in_sight=self.in_sight,
            places=self.places,
            query_lengths=self.query_lengths.tolist(),
            real_keys=self.real_keys,
            relations={
                name: [(b, q, k) for b, q, k in pairs.tolist()]
                for name, pairs in self.relations.items()
            },
        )


@st.composite
def any_weights(draw: st.DrawFn) -> Weights:
    """Draws weights of few and of many rows, broad and sharp, under all sorts of masks."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*(st.integers(1, most) for most in (3, 4, 9, 12))))
    batch, _, queries, keys = shape
    sizes = tuple(draw(st.sampled_from([1, size])) for size in shape[:3])
    in_sight = random.random((*sizes, keys)) < draw(st.sampled_from([0.2, 0.8, 1.0]))
    real_keys = random.random((batch, keys)) < draw(st.sampled_from([0.5, 1.0]))
    in_sight = in_sight & real_keys[:, None, None]
    if draw(st.booleans()):  # a window, or causality
        at = np.arange(queries)[:, None] - np.arange(keys)
        in_sight = in_sight & (at >= 0) & (at <= draw(st.integers(0, 12)))
    scores = draw(st.sampled_from([0.1, 3.0, 100.0])) * random.standard_normal(shape)
    exponents = np.where(in_sight, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0.0)
    total = exponents.sum(axis=-1, keepdims=True)
    weights = np.divide(exponents, total, out=np.zeros(shape), where=total > 0)
    places = None
    if draw(st.booleans()):
        rows = draw(st.sampled_from([1, batch]))
        offsets = random.integers(-3, draw(st.sampled_from([4, 2**31])), (rows, 1))
        places = offsets + np.arange(queries)
    pairs = [random.integers(0, (batch, queries, keys), (n, 3)) for n in (0, 5, 40)]
    return Weights(
        weights.astype(np.float32),
        in_sight,
        places,
        random.integers(0, queries + 1, batch),
        real_keys,
        dict(zip(("empty", "few", "many"), pairs, strict=True)),
    )


def check_same(analysis: HeadAnalysis, measures: HeadMeasures) -> None:
    """Compares all but the pattern, which is told from the rest."""
    for name in FIGURES:
        expected: Any = getattr(measures, name)
        if expected is not None:
            expected = pytest.approx(expected, rel=FLOAT32, abs=FLOAT32)
        assert getattr(analysis, name) == expected, name
    shares = measures.relation_shares
    assert analysis.relation_shares == pytest.approx(shares, rel=FLOAT32, abs=FLOAT32)


@given(any_weights(), st.tuples(*(st.integers(1, most) for most in (3, 4, 9))))
def test_blocks_give_what_row_by_row_gives(drawn: Weights, cuts: tuple[int, int, int]) -> None:
    for analysis, measures in zip(drawn.by_blocks(*cuts), drawn.row_by_row(), strict=True):
        check_same(analysis, measures)
