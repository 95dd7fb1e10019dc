"""The figures of heads that the oracle takes row by row, and how near others come to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import HeadAnalysis
from attention_service.head_measures import HeadMeasures, Pairs, head_measures
from tests.parity.cases import Case

FIGURES = [
    field.name
    for field in fields(HeadMeasures)
    if field.name not in ("head", "rows", "relation_shares")
]


def measured(
    case: Case,
    weights: NDArray[Any],
    *,
    allowed: NDArray[Any],
    queries: NDArray[np.int64],
    relations: Mapping[str, Pairs],
) -> list[HeadMeasures]:
    """Returns the oracle's figures of these rows, each query once, ascending."""
    masks = case.masks
    real_keys = np.ones((case.batch, case.kv_len), bool)
    if masks.kv_lengths is not None:
        real_keys &= np.arange(case.kv_len) < np.array(masks.kv_lengths)[:, None]
    if masks.key_mask is not None:
        real_keys &= masks.key_mask
    aligned = case.key is None or masks.query_offsets is not None
    has_places = aligned or case.causal != "none" or case.window != (None, None)
    place_of = {int(query): place for place, query in enumerate(queries)}
    return head_measures(
        weights,
        in_sight=allowed,
        places=case.places[:, queries] if has_places else None,
        query_lengths=[int((queries < length).sum()) for length in case.query_lengths],
        real_keys=real_keys,
        relations={
            name: [(b, place_of[i], j) for b, i, j in pairs if i in place_of]
            for name, pairs in relations.items()
        },
    )


def assert_same(
    found: Sequence[HeadAnalysis], expected: Sequence[HeadMeasures], heads: Sequence[int]
) -> None:
    """Compares every figure of every head."""
    assert [analysis.head for analysis in found] == list(heads)
    for analysis, figures in zip(found, expected, strict=True):
        assert analysis.rows == figures.rows
        assert analysis.relation_shares == pytest.approx(dict(figures.relation_shares), abs=1e-6)
        for name in FIGURES:
            value, right = getattr(analysis, name), getattr(figures, name)
            assert (value is None) == (right is None), name
            assert value is None or value == pytest.approx(right, rel=1e-5, abs=1e-6), name


def pairs_of(case: Case) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Draws pairs of positions."""
    sizes = (case.batch, case.query_len, case.kv_len)
    return st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), max_size=5)
