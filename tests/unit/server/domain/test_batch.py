"""Which requests can be computed together, and what is shared when they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attention_server.domain.batch import batch_key, join, split
from attention_server.domain.model import AttentionSettings, ModelKey
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Execution,
    Mask,
    Outputs,
    Rows,
    WeightRows,
)


def _request(batch: int = 1, length: int = 3, **fields: Any) -> AttendRequest:
    """Returns a request of ones that attends to itself."""
    tensor = np.ones((batch, length, 4), np.float32)
    request = AttendRequest(
        model=ModelKey("sdpa", "1"),
        query=tensor,
        key=tensor,
        value=tensor,
        mask=Mask(kv_lengths=np.full(batch, length), query_lengths=np.full(batch, length)),
        settings=AttentionSettings(2, 2, scale=0.5),
    )
    return replace(request, **fields)


_FIRST = np.array([0], np.intp)
_LAST = np.array([2], np.intp)
_WIDER = np.ones((1, 3, 6), np.float32)
_BOTH_KINDS = Outputs(weights=WeightRows(_FIRST, _LAST, top_k=2), scores=Rows(_FIRST))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"batch": 2, "length": 5}),
        ({}, {"mask": Mask(kv_lengths=np.array([2]), query_lengths=np.array([1]))}),
        (
            {"outputs": _BOTH_KINDS},
            {
                "outputs": Outputs(
                    weights=WeightRows(_FIRST.copy(), _LAST.copy(), top_k=2), scores=Rows(_FIRST)
                )
            },
        ),
    ],
    ids=["other sizes", "other lengths", "the same selection"],
)
def test_requests_that_differ_in_lengths_alone_share_a_key(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert batch_key(_request(**one)) == batch_key(_request(**other)) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ModelKey("sdpa", "2")},
        {"settings": AttentionSettings(2, 2, scale=0.25)},
        {"settings": AttentionSettings(2, 2, scale=0.5, causal="upper_left")},
        {"query": _WIDER, "key": _WIDER, "value": _WIDER},
        {"value": np.ones((1, 3, 4), np.float32)},
        {"key": _WIDER[..., :4], "value": _WIDER[..., :4]},
        {"outputs": Outputs(head_outputs=True)},
        {"outputs": Outputs(projections=True)},
        {"outputs": Outputs(log_sum_exp=True)},
        {"outputs": Outputs(output=False, head_outputs=True)},
        {"outputs": Outputs(weights=WeightRows())},
        {"outputs": Outputs(weights=WeightRows(top_k=1))},
        {"outputs": Outputs(weights=WeightRows(average_heads=True))},
        {"outputs": Outputs(weights=WeightRows(heads=_FIRST))},
        {"outputs": Outputs(weights=WeightRows(query_indices=_FIRST))},
        {"outputs": Outputs(weights=WeightRows(query_indices=_LAST))},
        {"outputs": Outputs(scores=Rows())},
        {"outputs": Outputs(scores=Rows(query_indices=_FIRST))},
    ],
)
def test_requests_that_ask_for_something_else_have_keys_of_their_own(
    fields: dict[str, Any],
) -> None:
    others = [{}, {"outputs": Outputs(weights=WeightRows(heads=_LAST))}]

    keys = [batch_key(_request(**each)) for each in (fields, *others)]

    assert None not in keys
    assert len(set(keys)) == 3


def test_an_analysis_is_computed_alone() -> None:
    assert batch_key(_request(outputs=Outputs(output=False, analysis={}))) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"key_mask": np.ones((1, 3), np.bool_)},
        {"attend_mask": np.ones((1, 1, 3, 3), np.bool_)},
        {"attn_bias": np.zeros((1, 1, 3, 3), np.float32)},
        {"query_offsets": np.array([1])},
    ],
)
def test_a_request_with_masks_of_its_own_is_computed_alone(fields: dict[str, Any]) -> None:
    request = _request()

    assert batch_key(replace(request, mask=replace(request.mask, **fields))) is None


@pytest.mark.parametrize(
    "fields",
    [{"ablated_heads": (1,)}, {"settings": AttentionSettings(2, 2, scale=0.0)}],
    ids=["ablated heads", "a model that comes whole"],
)
def test_a_request_that_cannot_share_is_computed_alone(fields: dict[str, Any]) -> None:
    assert batch_key(_request(**fields)) is None


def test_padding_is_of_zeros() -> None:
    joined = join([_request(batch=2, length=2), _request(length=3)])

    assert joined.query[..., 0].tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert joined.mask.kv_lengths.tolist() == joined.mask.query_lengths.tolist() == [2, 2, 3]


def test_self_attention_stays_so() -> None:
    joined = join([_request(), _request(length=5)])

    assert joined.key is joined.query
    assert joined.value is joined.key


def test_a_key_that_is_its_own_value_stays_so() -> None:
    memory = np.ones((1, 4, 4), np.float32)

    joined = join([_request(key=memory, value=memory), _request(key=memory, value=memory)])

    assert joined.key is not joined.query
    assert joined.value is joined.key


def test_an_answer_keeps_none_of_its_neighbours_in_memory() -> None:
    requests = [_request(length=3), _request(length=5)]
    joined = AttendResult(
        fully_masked_rows=0,
        execution=Execution(provider="", path="", compute_us=0),
        output=np.ones((2, 5, 4), np.float32),
    )
    for answer in split(joined, requests):
        assert answer.output is not None
        assert answer.output.flags.owndata
        assert answer.output.flags.c_contiguous
