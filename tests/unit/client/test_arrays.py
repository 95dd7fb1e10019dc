from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attention_client import InvalidRequestError, RequestTooLargeError
from attention_client._attend import AttendCall
from attention_client._request import request_of
from attention_service.tensor import decode
from attention_service.v1 import attention_pb2 as pb

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


class OnlyDLPack:
    """An array of a library that numpy knows nothing of."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize(
    ("array", "data_type"),
    [
        (NUMBERS, pb.DATA_TYPE_FLOAT32),
        (NUMBERS.astype(">f4"), pb.DATA_TYPE_FLOAT32),
        (NUMBERS.astype(np.float16), pb.DATA_TYPE_FLOAT16),
        (NUMBERS.astype(ml_dtypes.bfloat16), pb.DATA_TYPE_BFLOAT16),
        (NUMBERS.astype(np.float64), pb.DATA_TYPE_FLOAT32),
        (NUMBERS.astype(np.longdouble), pb.DATA_TYPE_FLOAT32),
        (NUMBERS.astype(np.int64), pb.DATA_TYPE_FLOAT32),
        (NUMBERS.astype(np.uint8), pb.DATA_TYPE_FLOAT32),
        (NUMBERS.tolist(), pb.DATA_TYPE_FLOAT32),
        (list(NUMBERS), pb.DATA_TYPE_FLOAT32),
        (np.asfortranarray(NUMBERS), pb.DATA_TYPE_FLOAT32),
        (NUMBERS[::-1][::-1], pb.DATA_TYPE_FLOAT32),
        (np.repeat(NUMBERS, 2, axis=2)[..., ::2].astype(np.float16), pb.DATA_TYPE_FLOAT16),
        (torch.from_numpy(NUMBERS), pb.DATA_TYPE_FLOAT32),
        (torch.from_numpy(NUMBERS).half(), pb.DATA_TYPE_FLOAT16),
        (torch.from_numpy(NUMBERS).double(), pb.DATA_TYPE_FLOAT32),
        (
            torch.from_numpy(NUMBERS.transpose(2, 0, 1).copy()).permute(1, 2, 0),
            pb.DATA_TYPE_FLOAT32,
        ),
        (OnlyDLPack(NUMBERS), pb.DATA_TYPE_FLOAT32),
    ],
)
def test_the_same_numbers_arrive_in_a_type_that_travels(
    array: Any, data_type: pb.DataType.ValueType
) -> None:
    request = request_of(AttendCall("m", array)).message()

    assert request.query.data_type == data_type
    np.testing.assert_array_equal(decode(request.query), NUMBERS)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(1, 1, 1, requires_grad=True), r"detach\(\)"),
        (torch.zeros(1, 1, 1, dtype=torch.bfloat16), r"\.float\(\)"),
        (torch.zeros(1, 1, 1, device="meta"), r"\.cpu\(\)"),
    ],
    ids=["requires grad", "bfloat16", "elsewhere"],
)
def test_a_tensor_that_numpy_cannot_read_is_refused_with_what_helps(
    tensor: torch.Tensor, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        request_of(AttendCall("m", tensor))


def test_a_bias_beyond_float32_forbids() -> None:
    bias = np.array([[-np.finfo(np.float64).max, -np.inf, 0.0]])

    request = request_of(AttendCall("m", NUMBERS, attn_bias=bias)).message()

    np.testing.assert_array_equal(decode(request.mask.attn_bias), [[-np.inf, -np.inf, 0.0]])


def test_what_no_message_holds_is_refused() -> None:
    huge = np.broadcast_to(np.float32(0), (256, 2**16, 64))

    with pytest.raises(RequestTooLargeError, match="fewer sequences"):
        request_of(AttendCall("m", huge, key=huge[:1, :1])).message()
