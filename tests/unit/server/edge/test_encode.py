from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attention_server.domain.model import SDPA, AttentionSettings, Window
from attention_server.domain.request import AttendResult, Execution
from attention_server.edge.encode import AnswerForm, encode_head, encode_model, encode_result
from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb

ONES = np.ones((1, 2, 4), np.float32)
SETTINGS = AttentionSettings(2, 1, scale=0.5)
EXECUTION = Execution("CPUExecutionProvider", "fast", compute_us=7, queue_us=5)


def encoded(
    data_type: pb.DataType.ValueType = pb.DATA_TYPE_FLOAT32, **tensors: Any
) -> pb.AttendResponse:
    result = AttendResult(fully_masked_rows=3, execution=EXECUTION, **tensors)
    form = AnswerForm("id", encode_head(SDPA.key, SETTINGS), data_type, 0)
    return pb.AttendResponse.FromString(encode_result(result, form))


def test_answer_tells_who_answered_and_how() -> None:
    assert encoded() == pb.AttendResponse(
        request_id="id",
        model="sdpa",
        model_version="1",
        fully_masked_rows=3,
        execution=pb.Execution(
            provider="CPUExecutionProvider",
            path="fast",
            batched_requests=1,
            queue_us=5,
            compute_us=7,
        ),
        applied=pb.AttentionSettings(
            num_heads=2, num_kv_heads=1, scale=0.5, causal=pb.CAUSAL_MODE_NONE
        ),
    )


@pytest.mark.parametrize(
    ("data_type", "infinite_from"),
    [(pb.DATA_TYPE_FLOAT16, 65520.0), (pb.DATA_TYPE_BFLOAT16, 3.3962e38)],
)
def test_what_does_not_fit_the_type_becomes_infinity(
    data_type: pb.DataType.ValueType, infinite_from: float
) -> None:
    values = np.array([[[infinite_from * 0.99, infinite_from, -infinite_from]]], np.float32)

    output = tensor.decode(encoded(data_type, output=values).output)

    assert np.isinf(output).tolist() == [[[False, True, True]]]


def test_log_sum_exp_and_indices_keep_their_types() -> None:
    response = encoded(
        pb.DATA_TYPE_FLOAT16,
        output=ONES,
        log_sum_exp=np.array([[[-np.inf]]], np.float32),
        weight_key_indices=np.array([[[[-1]]]], np.int32),
    )

    assert response.output.data_type == pb.DATA_TYPE_FLOAT16
    assert response.log_sum_exp.data_type == pb.DATA_TYPE_FLOAT32
    assert response.weight_key_indices.data_type == pb.DATA_TYPE_INT32


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (Window(), None),
        (Window(0, None), pb.SlidingWindow(left=0)),
        (Window(None, 3), pb.SlidingWindow(right=3)),
        (Window(2, 0), pb.SlidingWindow(left=2, right=0)),
    ],
)
def test_window_without_a_side_has_no_limit_there(
    window: Window, told: pb.SlidingWindow | None
) -> None:
    model = replace(SDPA, defaults=replace(SETTINGS, window=window))

    defaults = encode_model(model).defaults

    assert defaults.HasField("window") is (told is not None)
    if told is not None:
        assert defaults.window == told


@pytest.mark.parametrize(
    ("positions", "use"),
    [
        ("none", pb.POSITION_USE_UNSPECIFIED),
        ("rotary", pb.POSITION_USE_ROTARY),
        ("relative_bias", pb.POSITION_USE_RELATIVE_BIAS),
    ],
)
def test_use_of_positions_is_told(positions: Any, use: pb.PositionUse.ValueType) -> None:
    assert encode_model(replace(SDPA, positions=positions)).positions == use


@pytest.mark.parametrize(
    ("causal", "mode"),
    [
        ("none", pb.CAUSAL_MODE_NONE),
        ("upper_left", pb.CAUSAL_MODE_UPPER_LEFT),
        ("lower_right", pb.CAUSAL_MODE_LOWER_RIGHT),
    ],
)
def test_causality_is_never_unspecified(causal: Any, mode: pb.CausalMode.ValueType) -> None:
    model = replace(SDPA, defaults=replace(SETTINGS, causal=causal))

    assert encode_model(model).defaults.causal == mode
