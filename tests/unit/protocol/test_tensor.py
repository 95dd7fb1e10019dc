"""Tensors on the wire: what goes in comes out, and what is no tensor is refused by name."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attention_service import tensor
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

_ARRAYS: dict[str, NDArray[Any]] = {
    "float32": np.array([[0.0, -0.0, 1.5], [np.inf, -np.inf, 1e-45]], np.float32),
    "float16": np.array([[0.0, -0.0, 1.5], [np.inf, 65504.0, 6e-8]], np.float16),
    "bfloat16": np.array([[0.0, -0.0, 1.5], [np.inf, 3e38, 1e-40]], ml_dtypes.bfloat16),
    "bool": np.array([[True, False, True], [False, False, True]]),
    "int32": np.array([[0, -1, 2**31 - 1], [-(2**31), 7, 8]], np.int32),
}


def _bits(array: NDArray[Any]) -> bytes:
    return array.tobytes()


@pytest.mark.parametrize("dtype", list(_ARRAYS))
def test_values_travel_bit_for_bit(dtype: str) -> None:
    array = _ARRAYS[dtype]

    decoded = tensor.decode(tensor.encode(array))

    expected = array.astype(np.float32) if dtype == "bfloat16" else array
    assert decoded.dtype == expected.dtype
    assert decoded.shape == expected.shape
    assert _bits(decoded) == _bits(expected)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (2, 1, 3), (1, 2, 3, 4)], ids=str)
def test_shapes_of_1_to_4_dimensions_travel(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)

    assert np.array_equal(tensor.decode(tensor.encode(array)), array)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_bytes_are_little_endian_and_row_major(dtype: str) -> None:
    one = {"float32": "0000803f", "float16": "003c", "bfloat16": "803f", "int32": "01000000"}[dtype]
    columns = np.asfortranarray(np.array([[1, 0], [0, 0]]).astype(dtype))

    assert tensor.encode(columns).data == bytes.fromhex(one) + bytes(3 * len(one) // 2)


@pytest.mark.parametrize("dtype", [">f4", ">f2", ">i4"])
def test_big_endian_arrays_travel_as_their_values(dtype: str) -> None:
    array = np.array([1, -2, 3], dtype)

    assert np.array_equal(tensor.decode(tensor.encode(array)), array)


@pytest.mark.parametrize(
    "view",
    [np.s_[::2], np.s_[::-1], np.s_[:, 1], np.s_[:, ::-2]],
    ids=["every second row", "rows backwards", "a column", "every second column backwards"],
)
def test_views_travel_as_their_values(view: Any) -> None:
    array = np.arange(20, dtype=np.float32).reshape(4, 5)[view]

    assert np.array_equal(tensor.decode(tensor.encode(array)), array)


def test_any_byte_but_0_is_true() -> None:
    message = pb.Tensor(data_type=pb.DATA_TYPE_BOOL, shape=[4], data=b"\x00\x01\x02\xff")

    decoded = tensor.decode(message)

    assert decoded.dtype == np.bool_
    assert decoded.tolist() == [False, True, True, True]


def test_every_bfloat16_is_widened_exactly() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    message = pb.Tensor(data_type=pb.DATA_TYPE_BFLOAT16, shape=[2**16], data=every.tobytes())

    decoded = tensor.decode(message)

    expected = every.view(ml_dtypes.bfloat16).astype(np.float32)
    a_number = ~np.isnan(expected)
    assert np.array_equal(np.isnan(decoded), ~a_number)
    assert _bits(decoded[a_number]) == _bits(expected[a_number])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_decoding_copies_nothing(dtype: str) -> None:
    decoded = tensor.decode(tensor.encode(np.ones(4, dtype)))

    assert not decoded.flags.owndata
    assert not decoded.flags.writeable


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "complex64", "object", "str"])
def test_other_types_are_not_encoded(dtype: str) -> None:
    with pytest.raises(TypeError, match="no tensor of the contract holds"):
        tensor.encode(np.zeros(2, dtype))


_FOUR_BYTES = bytes(4)
_NO_TENSORS: dict[str, tuple[pb.Tensor, Reason]] = {
    "no type": (pb.Tensor(shape=[1], data=_FOUR_BYTES), Reason.INVALID_DATA_TYPE),
    "a type of a later contract": (
        pb.Tensor(data_type=99, shape=[1], data=_FOUR_BYTES),  # type: ignore[arg-type]  # the point
        Reason.INVALID_DATA_TYPE,
    ),
    "no dimensions": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "five dimensions": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[1] * 5, data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "a million dimensions": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[1] * 1_000_000, data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "a dimension of 0": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[2, 0]),
        Reason.INVALID_SHAPE,
    ),
    "a negative dimension": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[-1], data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "two negative dimensions whose product fits": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[-1, -1], data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "a dimension of 2^31": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[2**31], data=_FOUR_BYTES),
        Reason.INVALID_SHAPE,
    ),
    "dimensions whose product is 0 in 64 bits": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[2**30, 2**30, 2**30, 2**30]),
        Reason.INVALID_BYTE_LENGTH,
    ),
    "a byte too few": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[2], data=bytes(7)),
        Reason.INVALID_BYTE_LENGTH,
    ),
    "a byte too many": (
        pb.Tensor(data_type=pb.DATA_TYPE_FLOAT16, shape=[2], data=bytes(5)),
        Reason.INVALID_BYTE_LENGTH,
    ),
    "no data": (
        pb.Tensor(data_type=pb.DATA_TYPE_BOOL, shape=[1]),
        Reason.INVALID_BYTE_LENGTH,
    ),
}


@pytest.mark.parametrize(("message", "reason"), list(_NO_TENSORS.values()), ids=list(_NO_TENSORS))
def test_what_is_no_tensor_is_refused(message: pb.Tensor, reason: Reason) -> None:
    with pytest.raises(tensor.TensorError) as refused:
        tensor.decode(message)

    assert refused.value.reason is reason
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("data_type", "item_bytes"),
    [
        (pb.DATA_TYPE_FLOAT32, 4),
        (pb.DATA_TYPE_FLOAT16, 2),
        (pb.DATA_TYPE_BFLOAT16, 2),
        (pb.DATA_TYPE_BOOL, 1),
        (pb.DATA_TYPE_INT32, 4),
    ],
)
def test_byte_size_is_known_without_the_data(
    data_type: pb.DataType.ValueType, item_bytes: int
) -> None:
    assert tensor.byte_size(data_type, (2**31 - 1, 2**31 - 1)) == item_bytes * (2**31 - 1) ** 2
