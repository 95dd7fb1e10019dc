from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attention_client import AttendResult, AttentionSettings, Execution, ProtocolError
from attention_client._incoming import Answer
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

FLOATS = (
    "output",
    "weights",
    "scores",
    "query_heads",
    "key_heads",
    "value_heads",
    "head_outputs",
    "log_sum_exp",
)
ARRAYS: dict[str, NDArray[Any]] = {
    **{name: np.full((1, 2, 3), number, np.float32) for number, name in enumerate(FLOATS)},
    "weight_key_indices": np.array([[[0, -1, 2]]], np.int32),
}


def result_of(message: pb.AttendResponse) -> AttendResult:
    return AttendResult.from_answer(Answer(message))


def test_an_answer_is_told_in_the_contracts_names(serve: Serve, ask: Ask) -> None:
    response = pb.AttendResponse(
        request_id="mine",
        model="m",
        model_version="2",
        fully_masked_rows=2**40,
        execution=pb.Execution(
            provider="CPUExecutionProvider",
            path="fast",
            batched_requests=1,
            queue_us=2,
            compute_us=3,
        ),
        applied=pb.AttentionSettings(
            num_heads=8, num_kv_heads=4, scale=0.5, causal=pb.CAUSAL_MODE_NONE
        ),
        **{name: encode(array) for name, array in ARRAYS.items()},
    )

    result = ask(
        serve(Attend=lambda *_: response), lambda c: c.attend("m", [[[0.0]]], request_id="mine")
    )

    assert result.arrays().keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert getattr(result, name).dtype == array.dtype
        np.testing.assert_array_equal(getattr(result, name), array)
    assert (result.model, result.model_version, result.request_id) == ("m", "2", "mine")
    assert result.fully_masked_rows == 2**40
    assert result.execution == Execution("CPUExecutionProvider", "fast", 1, 2, 3)
    assert result.applied == AttentionSettings(8, 4, 0.5, 0.0, "none", None)


def test_what_was_not_asked_for_is_none() -> None:
    result = result_of(pb.AttendResponse())

    assert result.arrays() == {}
    assert all(getattr(result, name) is None for name in ARRAYS)


@pytest.mark.parametrize(
    ("sent", "received"),
    [(np.float32, np.float32), (np.float16, np.float16), (ml_dtypes.bfloat16, np.float32)],
)
def test_floats_come_as_numpy_has_them(sent: Any, received: Any) -> None:
    numbers = np.array([[[1.5, -2.0]]]).astype(sent)

    output = result_of(pb.AttendResponse(output=encode(numbers))).output

    assert output is not None
    assert output.dtype == received
    np.testing.assert_array_equal(output, [[[1.5, -2.0]]])


@pytest.mark.parametrize(
    "sent", [np.float32, np.float16, ml_dtypes.bfloat16, np.int32], ids=lambda sent: sent.__name__
)
def test_arrays_are_read_only(sent: Any) -> None:
    message = pb.AttendResponse(output=encode(np.ones((1, 2, 3)).astype(sent)))

    output = result_of(message).output

    assert output is not None
    with pytest.raises(ValueError, match="read-only"):
        output[0] = 0
    output.copy()[0] = 0


@pytest.mark.parametrize(
    ("sides", "window"),
    [({"left": 4}, (4, None)), ({"left": 0, "right": 1}, (0, 1)), ({}, None)],
)
def test_a_window_is_a_pair_or_nothing(sides: dict[str, int], window: Any) -> None:
    message = pb.AttentionSettings(window=pb.SlidingWindow(**sides))

    assert AttentionSettings.from_message(message).window == window


def test_a_tensor_that_is_none_is_a_protocol_error(serve: Serve, ask: Ask) -> None:
    torn = pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[2], data=b"x")
    response = pb.AttendResponse(weights=torn)

    with pytest.raises(ProtocolError, match=r"weights is no tensor: .* 8 bytes"):
        ask(serve(Attend=lambda *_: response), lambda client: client.attend("m", [[[0.0]]]))


def test_a_result_shows_shapes_rather_than_numbers() -> None:
    message = pb.AttendResponse(
        model="m", model_version="2", output=encode(np.zeros((2, 300, 384), np.float32))
    )

    assert repr(result_of(message)) == (
        "AttendResult(model='m', model_version='2', output=float32[2, 300, 384], "
        "fully_masked_rows=0)"
    )
