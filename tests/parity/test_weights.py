"""Weights: what every row must be, and what a selection of them gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import AttentionClient, WeightsSpec
from attention_service.reference import Projections
from tests.parity.cases import Case, Float32Array
from tests.parity.closeness import relative_error, tolerance
from tests.parity.draws import cases


def _weights(case: Case, client: AttentionClient, spec: WeightsSpec | bool = True) -> Float32Array:
    weights = case.ask(client, output=False, weights=spec).weights
    assert weights is not None
    return weights.astype(np.float32, copy=False)


@st.composite
def _selections(draw: st.DrawFn, case: Case) -> WeightsSpec:
    heads = st.none() | st.lists(st.integers(0, case.dims.heads - 1), min_size=1, max_size=5)
    queries = st.integers(-case.query_len, case.query_len - 1)
    return WeightsSpec(
        heads=draw(heads),
        query_indices=draw(st.none() | st.lists(queries, min_size=1, max_size=5)),
        average_heads=draw(st.booleans()),
    )


def _rows(array: NDArray[Any], spec: WeightsSpec) -> NDArray[Any]:
    """Returns the selected rows of [batch, heads, query_len, ...]."""
    array = array if spec.heads is None else array[:, spec.heads]
    return array if spec.query_indices is None else array[:, :, spec.query_indices]


@given(case=cases())
def test_a_row_sums_to_1_or_to_0_where_it_sees_nothing(client: AttentionClient, case: Case) -> None:
    sums = _weights(case, client).sum(axis=-1, dtype=np.float64)

    assert (sums[case.blind] == 0.0).all()
    assert np.abs(sums[~case.blind] - 1.0).max(initial=0.0) <= 1e-6


@given(case=cases())
def test_a_key_out_of_sight_has_weight_exactly_0(client: AttentionClient, case: Case) -> None:
    assert not _weights(case, client)[~case.allowed].any()


@given(case=cases(), data=st.data())
def test_heads_and_queries_are_selected_and_then_averaged(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    spec = data.draw(_selections(case))

    weights = _weights(case, client, spec)

    expected = case.expected(projections)
    rows = _rows(expected.inside.weights, spec)
    if spec.average_heads:
        rows = rows.mean(axis=1, keepdims=True)
    assert relative_error(weights, rows) <= tolerance(expected.largest_score)


@given(case=cases(), data=st.data())
def test_the_largest_weights_come_largest_first_and_of_equals_the_smaller_index_first(
    client: AttentionClient, case: Case, data: st.DataObject
) -> None:
    # A query of zeros has all scores alike: every weight of its row is tied.
    tied = data.draw(st.booleans())
    case = replace(case, query=np.zeros_like(case.query)) if tied else case
    spec = data.draw(_selections(case))
    top_k = data.draw(st.integers(1, case.kv_len + 2))
    every = _weights(case, client, spec)
    seen: NDArray[Any] = _rows(case.allowed, spec)
    if spec.average_heads:
        seen = np.any(seen, axis=1, keepdims=True)

    top = case.ask(client, output=False, weights=replace(spec, top_k=top_k))

    count = min(top_k, case.kv_len)
    order = np.argsort(np.where(seen, -every, np.float32(1)), axis=-1, kind="stable")[..., :count]
    found = np.take_along_axis(seen, order, axis=-1)
    assert top.weights is not None
    assert top.weight_key_indices is not None
    assert np.array_equal(top.weight_key_indices, np.where(found, order, -1))
    largest = np.take_along_axis(every, order, axis=-1)
    assert np.array_equal(top.weights, np.where(found, largest, np.float32(0)))


@given(case=cases(), data=st.data())
def test_ablation_leaves_weights_as_they_are(
    client: AttentionClient, case: Case, data: st.DataObject
) -> None:
    ablated = data.draw(st.sets(st.integers(0, case.dims.heads - 1), min_size=1))

    with_them = _weights(replace(case, ablated_heads=()), client)
    without = _weights(replace(case, ablated_heads=sorted(ablated)), client)

    assert np.array_equal(with_them, without)
