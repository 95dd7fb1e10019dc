"""What a result says of its heads, against the figures taken row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import AttendCall, AttendResult, InvalidRequestError, WeightsSpec
from attention_client._asked import Asked
from attention_client._incoming import Answer
from attention_client._names import CAUSAL_MODES
from attention_client._request import request_of
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb
from tests.parity.cases import Case
from tests.parity.draws import cases
from tests.parity.figures import assert_same, measured, pairs_of


def answered(
    case: Case, spec: bool | WeightsSpec, weights: NDArray[Any], **more: Any
) -> AttendResult:
    """Returns the result of a call that a server answered with these weights."""
    call = AttendCall(**case.keywords, weights=spec)
    left, right = case.window
    applied = pb.AttentionSettings(
        num_heads=case.dims.heads,
        causal=CAUSAL_MODES[case.causal],
        window=pb.SlidingWindow(left=left, right=right),
    )
    message = pb.AttendResponse(weights=encode(weights), applied=applied, **more)
    return AttendResult.from_answer(Answer(message), asked=Asked.of(call, request_of(call)))


def some_weights(case: Case, seed: int) -> NDArray[np.float32]:
    """Returns weights on what the case allows, [batch, heads, query_len, kv_len]."""
    scores = 3.0 * np.random.default_rng(seed).standard_normal(case.allowed.shape)
    exponentials = np.where(case.allowed, np.exp(scores), 0.0)
    total = exponentials.sum(axis=-1, keepdims=True)
    return (exponentials / np.where(total, total, 1.0)).astype(np.float32)


@given(case=cases(), data=st.data())
@settings(max_examples=100)
def test_the_figures_are_those_of_the_selected_rows(case: Case, data: st.DataObject) -> None:
    weights = some_weights(case, data.draw(st.integers(0, 9)))
    relations = {"first": data.draw(pairs_of(case)), "second": data.draw(pairs_of(case))}
    indices = st.integers(-case.query_len, case.query_len - 1)
    heads = data.draw(st.none() | st.lists(st.integers(0, case.dims.heads - 1), min_size=1))
    chosen = data.draw(st.none() | st.lists(indices, min_size=1, max_size=5))
    all_heads = list(range(case.dims.heads)) if heads is None else heads
    all_queries = np.arange(case.query_len)[slice(None) if chosen is None else chosen]
    rows = weights[:, all_heads][:, :, all_queries]

    found = answered(case, WeightsSpec(heads, chosen), rows).head_analysis(relations)

    queries = np.unique(all_queries)
    expected = measured(
        case,
        weights[:, all_heads][:, :, queries],
        allowed=case.allowed[:, all_heads][:, :, queries],
        queries=queries,
        relations=relations,
    )
    assert_same(found, expected, all_heads)


QUERY = np.zeros((2, 3, 4), np.float32)
WEIGHTS = np.full((2, 2, 3, 3), 1 / 3, np.float32)


def result_of(spec: bool | WeightsSpec, weights: NDArray[Any] | None = WEIGHTS) -> AttendResult:
    """Returns the result of a call for two sequences of three."""
    call = AttendCall("m", QUERY, weights=spec)
    message = pb.AttendResponse(
        weights=None if weights is None else encode(weights),
        applied=pb.AttentionSettings(num_heads=2),
    )
    return AttendResult.from_answer(Answer(message), asked=Asked.of(call, request_of(call)))


@pytest.mark.parametrize(
    ("spec", "weights", "says"),
    [
        (False, None, r"weights=True\) returns them"),
        (WeightsSpec(average_heads=True), WEIGHTS[:, :1], "without average_heads"),
        (WeightsSpec(top_k=3), WEIGHTS, "without top_k"),
    ],
)
def test_without_whole_rows_of_single_heads_the_error_says_what_to_ask_for(
    spec: bool | WeightsSpec, weights: NDArray[Any] | None, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"^weights: must .*{says}$"):
        result_of(spec, weights).head_analysis()


@pytest.mark.parametrize(
    ("relations", "says"),
    [
        ([(0, 1, 2)], "relations: must be a dictionary"),
        ({"r": 3}, r"relations\['r'\]: must be a list of pairs, not 3"),
        ({"r": "text"}, r"relations\['r'\]: must be a list of pairs"),
        ({"r": [3]}, r"relations\['r'\]\[0\]: must be \(sequence, query, key\), not 3"),
        ({"r": [(1, 2)]}, r"relations\['r'\]\[0\]: must be \(sequence, query, key\), not"),
        ({"r": [(0, 0, 0), (2, 0, 0)]}, r"relations\['r'\]\[1\] sequence: must be 0 to 1, not 2"),
        ({"r": [(0, 3, 0)]}, r"relations\['r'\]\[0\] query: must be 0 to 2, not 3"),
        ({"r": [(0, 0, -1)]}, r"relations\['r'\]\[0\] key: must be 0 to 2, not -1"),
        ({"r": [(0, 0, 0.5)]}, r"relations\['r'\]\[0\] key: must be a whole number"),
        ({3: []}, "relations: must be text, not 3"),
    ],
)
def test_relations_that_are_none_are_refused(relations: Any, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{says}"):
        result_of(True).head_analysis(relations)
