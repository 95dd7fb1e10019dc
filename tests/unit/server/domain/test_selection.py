"""Selected rows, means and largest weights, the same however a request is cut into blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_server.domain.request import BoolArray, Float32Array, Rows, WeightRows
from attention_server.domain.selection import RowGatherer, WeightGatherer, largest_weights
from tests.unit.server.attend_requests import Dims, attend_request, cuttings, part_of
from tests.unit.server.domain.strategies import dims as some_dims

_Indices = NDArray[np.intp]


def _indices(size: int) -> st.SearchStrategy[_Indices | None]:
    some = st.lists(st.integers(0, size - 1), min_size=1, max_size=6)
    return st.none() | some.map(lambda chosen: np.array(chosen, np.intp))


@st.composite
def _selections(draw: st.DrawFn) -> tuple[Dims, WeightRows, int]:
    dims = draw(some_dims())
    rows = WeightRows(
        heads=draw(_indices(dims.heads)),
        query_indices=draw(_indices(dims.query_len)),
        average_heads=draw(st.booleans()),
        top_k=draw(st.integers(0, dims.kv_len)),
    )
    return dims, rows, draw(st.integers(0, 2**32 - 1))


def _select(array: NDArray[Any], rows: Rows) -> NDArray[Any]:
    """Returns the selected rows of [batch, heads, query_len, kv_len]."""
    heads = np.arange(array.shape[1]) if rows.heads is None else rows.heads
    queries = np.arange(array.shape[2]) if rows.query_indices is None else rows.query_indices
    return array[:, heads][:, :, queries]


def _top(row: NDArray[Any], in_sight: BoolArray, top_k: int) -> tuple[list[float], list[int]]:
    """Returns the largest weights in sight, of equals the smaller index first, and who they are."""
    keys = sorted(np.flatnonzero(in_sight), key=lambda j: (-row[j], j))[:top_k]
    missing = top_k - len(keys)
    return [float(row[j]) for j in keys] + [0.0] * missing, [int(j) for j in keys] + [-1] * missing


@given(_selections())
def test_rows_are_gathered_from_any_blocks(drawn: tuple[Dims, WeightRows, int]) -> None:
    dims, selected, seed = drawn
    rows = Rows(selected.heads, selected.query_indices)
    values = np.random.default_rng(seed).standard_normal(dims.pairs).astype(np.float32)
    request = attend_request(dims)

    for cutting in cuttings(dims):
        gatherer = RowGatherer(rows, request)
        for block in cutting:
            gatherer.put(block, part_of(values, block))
        assert np.array_equal(gatherer.result(), _select(values, rows))


@given(_selections())
def test_weights_are_selected_then_averaged_then_the_largest_taken(
    drawn: tuple[Dims, WeightRows, int],
) -> None:
    dims, rows, seed = drawn
    random = np.random.default_rng(seed)
    # Few values make many ties, and of such the sum over heads has no rounding.
    weights = random.integers(0, 4, dims.pairs).astype(np.float32) / 64
    sight = random.random((dims.batch, random.choice([1, dims.heads]), *dims.pairs[2:])) < 0.7
    sight = np.broadcast_to(sight, dims.pairs)
    weights = np.where(sight, weights, np.float32(0))
    request = attend_request(dims)
    expected: NDArray[Any] = _select(weights, rows)
    seen: NDArray[Any] = _select(sight, rows)
    if rows.average_heads:
        count = np.float32(expected.shape[1])
        expected = expected.sum(axis=1, keepdims=True, dtype=np.float32) / count
        seen = np.any(seen, axis=1, keepdims=True)

    for cutting in cuttings(dims):
        gatherer = WeightGatherer(rows, request)
        for block in cutting:
            gatherer.put(block, part_of(weights, block), part_of(sight, block))
        actual, indices = gatherer.result()
        if not rows.top_k:
            assert indices is None
            assert np.array_equal(actual, expected)
            continue
        assert indices is not None
        assert actual.shape == indices.shape == (*expected.shape[:3], rows.top_k)
        for at in np.ndindex(*expected.shape[:3]):
            largest, keys = _top(expected[at], seen[at], rows.top_k)
            assert indices[at].tolist() == keys
            assert actual[at].tolist() == largest


@given(_selections())
def test_absent_sight_means_that_every_key_is_in_sight(
    drawn: tuple[Dims, WeightRows, int],
) -> None:
    dims, rows, seed = drawn
    weights = np.random.default_rng(seed).random(dims.pairs, np.float32)
    cutting = next(iter(cuttings(dims)))

    def gathered(sight: BoolArray | None) -> tuple[Float32Array, NDArray[np.int32] | None]:
        gatherer = WeightGatherer(rows, attend_request(dims))
        for block in cutting:
            gatherer.put(
                block, part_of(weights, block), None if sight is None else part_of(sight, block)
            )
        return gatherer.result()

    absent, everything = gathered(None), gathered(np.ones(dims.pairs, np.bool_))
    assert np.array_equal(absent[0], everything[0])
    assert np.array_equal(np.array(absent[1]), np.array(everything[1]))


_LEAST = np.finfo(np.float32).smallest_subnormal


@pytest.mark.parametrize(
    ("row", "in_sight", "weights", "keys"),
    [
        ([0.1, 0.5, 0.4], "###", [0.5, 0.4], [1, 2]),
        ([0.25, 0.25, 0.25, 0.25], "####", [0.25, 0.25], [0, 1]),
        ([0.1, 0.4, 0.1, 0.4], "####", [0.4, 0.4], [1, 3]),
        ([0.2, 0.0, 0.0, 0.8], "####", [0.8, 0.2], [3, 0]),
        ([0.0, 1.0, 0.0], "###", [1.0, 0.0], [1, 0]),
        ([0.0, 1.0, 0.0], ".##", [1.0, 0.0], [1, 2]),
        ([0.0, 1.0, 0.0], ".#.", [1.0, 0.0], [1, -1]),
        ([0.0, 0.0, 0.0], "...", [0.0, 0.0], [-1, -1]),
        ([0.0, _LEAST, 2 * _LEAST], "###", [2 * _LEAST, _LEAST], [2, 1]),
        ([1.0], "#", [1.0], [0]),
        ([0.0], ".", [0.0], [-1]),
    ],
    ids=[
        "largest first",
        "of equals the smaller index first",
        "equals among others",
        "a tie below the last",
        "a weight of 0 in sight counts, the smaller index first",
        "out of sight counts for nothing",
        "-1 where fewer keys were in sight",
        "-1 throughout where none was",
        "the smallest numbers keep their order",
        "one key",
        "one key out of sight",
    ],
)
def test_the_largest_weights_of_a_row(
    row: list[float], in_sight: str, weights: list[float], keys: list[int]
) -> None:
    array = np.array(row, np.float32)[None, None, None]
    sight = np.array([mark == "#" for mark in in_sight])[None, None, None]

    top = largest_weights(array, sight, len(keys))

    assert top.key_indices[0, 0, 0].tolist() == keys
    assert top.weights[0, 0, 0].tolist() == np.array(weights, np.float32).tolist()
    assert top.key_indices.dtype == np.int32
    assert top.weights.dtype == np.float32


@pytest.mark.parametrize("top_k", [1, 7, 1000, 4096])
def test_the_largest_of_many_weights_are_those_of_a_full_sort(top_k: int) -> None:
    random = np.random.default_rng(0)
    # Few values: ties lie across every border.
    weights = (random.integers(0, 50, (2, 3, 2, 4096)) / 50).astype(np.float32)
    sight = random.random(weights.shape) < 0.9

    top = largest_weights(weights, sight, top_k)

    hidden = np.where(sight, -weights, np.float32(1))  # out of sight comes last
    order = np.argsort(hidden, axis=-1, kind="stable")[..., :top_k]
    found = np.take_along_axis(sight, order, axis=-1)
    assert np.array_equal(top.key_indices, np.where(found, order, -1))
    expected = np.where(found, np.take_along_axis(weights, order, axis=-1), np.float32(0))
    assert np.array_equal(top.weights, expected)
