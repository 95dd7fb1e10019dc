"""Only the rows and heads that are asked for are computed, and they are what they would be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_server.domain.model import SDPA
from attention_server.domain.request import AttendRequest, Outputs, Rows, WeightRows
from attention_server.domain.selection import Needed
from attention_server.engine.attention_graphs import AttentionGraphs
from attention_server.engine.engine import Engine
from attention_server.engine.providers import Runtime
from tests.made_models import MODELS
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.domain.strategies import dims_and_masks
from tests.unit.server.engine.answers import result_of
from tests.unit.server.engine.made import described, made_request
from tests.unit.server.engine.stages import DIMS, MODEL, layer_request

_Indices = NDArray[np.intp]


def _some(size: int) -> st.SearchStrategy[_Indices | None]:
    few = st.lists(st.integers(0, size - 1), min_size=1, max_size=4)
    return st.none() | few.map(lambda indices: np.array(indices, np.intp))


@st.composite
def _selections(draw: st.DrawFn, heads: int, query_len: int, kv_len: int) -> Outputs:
    def rows() -> tuple[_Indices | None, _Indices | None]:
        return draw(_some(heads)), draw(_some(query_len))

    weights = WeightRows(*rows(), draw(st.booleans()), draw(st.integers(0, kv_len)))
    scores = draw(st.sampled_from([None, Rows(*rows())]))
    return Outputs(output=False, weights=weights, scores=scores)


def _check(engine: Engine, request: AttendRequest) -> None:
    """Compares an answer with that to the same request for everything."""
    everything = replace(request.outputs, output=True, head_outputs=True)

    selected = result_of(engine, request)
    whole = result_of(engine, replace(request, outputs=everything))

    assert selected.fully_masked_rows == whole.fully_masked_rows
    kept = {name for name in whole.tensors() if name not in ("output", "head_outputs")}
    assert selected.tensors().keys() == kept
    for name, tensor in selected.tensors().items():
        right = whole.tensors()[name]
        if name == "weight_key_indices":
            continue  # of weights that differ by a rounding either may be the larger
        assert np.allclose(tensor, right, rtol=0, atol=1e-6), name


@given(drawn=dims_and_masks(), data=st.data(), model=st.sampled_from([SDPA, MODEL]))
def test_selected_rows_are_those_of_the_whole_answer(
    engine: Engine, drawn: tuple[Dims, Masks], data: st.DataObject, model: Any
) -> None:
    dims, masks = drawn
    build: Any = attend_request
    if model is MODEL:
        build, dims = layer_request, replace(DIMS, batch=dims.batch, kv_len=dims.kv_len)
        masks = replace(
            masks, attend_mask=None, attn_bias=None, query_lengths=None, query_offsets=None
        )
    outputs = data.draw(_selections(dims.heads, dims.query_len, dims.kv_len))

    _check(engine, build(dims, masks, Options(outputs)))


@pytest.mark.parametrize("name", ["rotary", "biased"])
def test_selected_queries_keep_their_positions(runtime: Runtime, name: str) -> None:
    engine = Engine(runtime)
    engine.load(described(name), MODELS[name].files)
    weights = WeightRows(heads=np.array([2, 0, 2]), query_indices=np.array([3, 1, 3]))
    positions = np.array([[5, 9, 0, 2]], np.int32)

    for given_positions in (positions, positions + np.arange(3)[:, None]):
        request = made_request(
            name,
            outputs=Outputs(output=False, weights=weights),
            query_positions=given_positions.astype(np.int32),
        )
        _check(engine, request)


_ALL_ROWS = Rows()
_ONE = Rows(np.array([1]), np.array([2]))
_OTHERS = Rows(np.array([3, 1]), np.array([4, 2, 2]))


@pytest.mark.parametrize(
    ("outputs", "heads", "queries"),
    [
        (Outputs(), None, None),
        (Outputs(weights=WeightRows(_ONE.heads, _ONE.query_indices)), None, None),
        (Outputs(output=False, weights=WeightRows()), None, None),
        (Outputs(output=False, weights=WeightRows(_ONE.heads, _ONE.query_indices)), [1], [2]),
        (Outputs(output=False, scores=_OTHERS), [1, 3], [2, 4]),
        (
            Outputs(output=False, scores=_OTHERS, weights=WeightRows(np.array([0]))),
            [0, 1, 3],
            None,
        ),
        (Outputs(output=False, scores=_ONE, log_sum_exp=True), None, None),
        (Outputs(output=False, scores=_ONE, head_outputs=True), None, None),
        (Outputs(output=False, scores=_ONE, projections=True), None, None),
        (Outputs(output=False), [], []),
    ],
)
def test_needed_are_the_rows_that_some_output_is_made_of(
    outputs: Outputs, heads: list[int] | None, queries: list[int] | None
) -> None:
    needed = Needed.by(outputs)

    for actual, expected in zip(needed, (heads, queries), strict=True):
        assert (None if actual is None else actual.tolist()) == expected


def _computed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, request: AttendRequest
) -> list[tuple[int, ...]]:
    """Returns [batch, heads, queries, keys] of each run of a graph of attention."""
    runs: list[tuple[int, ...]] = []
    run = AttentionGraphs.run

    def recorded(self: Any, graph: str, query: Any, key: Any, value: Any, **others: Any) -> Any:
        runs.append((*query.shape[:3], key.shape[2]))
        return run(self, graph, query, key, value, **others)

    monkeypatch.setattr(AttentionGraphs, "run", recorded)
    result_of(engine, request)
    return runs


_DIMS = Dims(batch=2, query_len=40, kv_len=40, heads=4, kv_heads=2)


@pytest.mark.parametrize(
    ("weights", "masks", "runs"),
    [
        (WeightRows(query_indices=np.array([7, 7, 7])), Masks(), [(2, 4, 1, 40)]),
        (WeightRows(heads=np.array([2])), Masks(), [(2, 1, 40, 40)]),
        (WeightRows(np.array([0, 3]), np.array([9])), Masks(), [(2, 1, 1, 40), (2, 1, 1, 40)]),
        (
            WeightRows(np.array([2, 3]), np.array([1, 0])),
            Masks(causal="upper_left"),
            [(2, 2, 2, 2)],
        ),
    ],
    ids=["a query", "a head", "heads of two groups", "a group, causal"],
)
def test_nothing_else_is_computed(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    weights: WeightRows,
    masks: Masks,
    runs: list[tuple[int, ...]],
) -> None:
    outputs = Outputs(output=False, weights=weights)

    request = attend_request(_DIMS, masks, Options(outputs))

    assert _computed(engine, monkeypatch, request) == runs


def test_where_no_row_is_asked_for_the_rows_without_keys_are_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = attend_request(_DIMS, Masks(kv_lengths=[0, 3]), Options(Outputs(output=False)))

    assert _computed(engine, monkeypatch, request) == []
    result = result_of(engine, request)
    assert (result.execution.path, result.fully_masked_rows) == ("none", 40 * 4)
    assert result.tensors() == {}
