"""Which keys each row of weights may attend to, told without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from attention_client import AttendCall, AttendResult, WeightsSpec
from attention_client._asked import Asked
from attention_client._incoming import Answer
from attention_client._names import CAUSAL_MODES
from attention_client._request import request_of
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb
from tests.parity.cases import Case
from tests.parity.draws import cases


def asked_by(call: AttendCall) -> Asked:
    return Asked.of(call, request_of(call))


def result_of(call: AttendCall, **answer: Any) -> AttendResult:
    return AttendResult.from_answer(Answer(pb.AttendResponse(**answer)), asked=asked_by(call))


@given(case=cases())
@settings(max_examples=200)
def test_every_form_of_mask_is_told_pair_by_pair(case: Case) -> None:
    call = AttendCall(**case.keywords, weights=True)

    seen = asked_by(call).in_sight(
        num_heads=case.dims.heads, causal=case.causal, window=case.window
    )

    np.testing.assert_array_equal(np.broadcast_to(seen, case.allowed.shape), case.allowed)


def test_in_self_attention_the_last_real_query_stands_at_the_last_real_key() -> None:
    query = np.zeros((1, 4, 2), np.float32)
    call = AttendCall("m", query, kv_lengths=[2], causal="lower_right", weights=True)

    seen = asked_by(call).in_sight(num_heads=1, causal="lower_right", window=None)

    np.testing.assert_array_equal(seen[0, 0].sum(axis=-1), [1, 2, 2, 2])


def test_what_the_model_applied_decides() -> None:
    answer = pb.AttendResponse(
        weights=encode(np.zeros((1, 2, 3, 3), np.float32)),
        applied=pb.AttentionSettings(
            num_heads=2, causal=CAUSAL_MODES["upper_left"], window=pb.SlidingWindow(left=1)
        ),
    )
    call = AttendCall("m", np.zeros((1, 3, 4), np.float32), weights=True)

    result = AttendResult.from_answer(Answer(answer), asked=asked_by(call))

    assert result.in_sight is not None
    expected = [[True, False, False], [True, True, False], [False, True, True]]
    np.testing.assert_array_equal(result.in_sight, [[expected, expected]])
    assert not result.in_sight.flags.writeable
    assert result.in_sight is result.in_sight
    assert (result.selected_heads, result.selected_queries) == ((0, 1), (0, 1, 2))


@pytest.mark.parametrize("weights", [False, True])
def test_without_weights_nothing_is_in_sight(weights: bool) -> None:
    call = AttendCall("m", np.zeros((1, 3, 4), np.float32), weights=weights)

    result = result_of(call, applied=pb.AttentionSettings(num_heads=2))

    assert result.in_sight is None
    assert result.selected_queries == ((0, 1, 2) if weights else ())


def test_a_result_keeps_the_lists_of_its_call_and_none_of_its_embeddings() -> None:
    lengths, heads = [2], [1]
    query = np.zeros((1, 3, 4), np.float32)
    call = AttendCall("m", query, kv_lengths=lengths, weights=WeightsSpec(heads=heads))

    result = result_of(call, applied=pb.AttentionSettings(num_heads=2))
    lengths[0], heads[0] = 3, 0

    assert result._asked is not None
    assert result._asked.kv_lengths == (2,)
    assert result.selected_heads == (1,)
    assert all(part is not query for part in result._asked)
