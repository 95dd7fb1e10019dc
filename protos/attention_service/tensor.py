"""Tensors as numpy arrays: little-endian, row-major, without a copy where numpy can do without."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = [
    "MAX_DIM",
    "MAX_RANK",
    "Content",
    "TensorError",
    "TensorForm",
    "announce",
    "array_of",
    "byte_size",
    "data_of",
    "decode",
    "encode",
    "fill",
    "shape_of",
]

MAX_RANK = 4
MAX_DIM = 2**31 - 1

_DTYPES: Mapping[pb.DataType.ValueType, np.dtype[Any]] = {
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_BFLOAT16: np.dtype("<u2"),  # numpy has no bfloat16: its bits
    pb.DATA_TYPE_BOOL: np.dtype("u1"),  # any byte but 0 is true
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
}
_FLOAT32 = np.dtype(np.float32)
_DATA_TYPES: Mapping[str, pb.DataType.ValueType] = {
    "float32": pb.DATA_TYPE_FLOAT32,
    "float16": pb.DATA_TYPE_FLOAT16,
    "bfloat16": pb.DATA_TYPE_BFLOAT16,  # as ml_dtypes registers it
    "bool": pb.DATA_TYPE_BOOL,
    "int32": pb.DATA_TYPE_INT32,
}
_FREQUENT: Mapping[np.dtype[Any], pb.DataType.ValueType] = {
    np.dtype(name): _DATA_TYPES[name] for name in ("float32", "float16", "bool", "int32")
}


class TensorError(ValueError):
    """A Tensor message that holds no tensor."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TensorForm(NamedTuple):
    """A tensor but for its data."""

    data_type: pb.DataType.ValueType
    shape: tuple[int, ...]


Content: TypeAlias = bytes | memoryview | NDArray[np.uint8]
"""The data of a tensor, as it travels."""


def encode(array: NDArray[Any]) -> pb.Tensor:
    """Returns the array as a message.

    Raises:
        TypeError: A dtype other than float32, float16, bfloat16 (of ml_dtypes), bool and int32.
    """
    message = pb.Tensor()
    fill(message, array)
    return message


def fill(message: pb.Tensor, array: NDArray[Any]) -> None:
    """Puts the array into an empty message, where it stands: one copy less for large tensors.

    Raises:
        TypeError: As ``encode``.
    """
    announce(message, array)
    message.data = data_of(array).tobytes()


def announce(message: pb.Tensor, array: NDArray[Any]) -> None:
    """Puts the array's type and shape into an empty message, its data aside.

    Raises:
        TypeError: As ``encode``.
    """
    # To ask a dtype for its name takes 2 us.
    data_type = _FREQUENT.get(array.dtype) or _DATA_TYPES.get(array.dtype.name)
    if data_type is None:
        raise TypeError(f"no tensor of the contract holds {array.dtype}")
    message.data_type = data_type
    message.shape.extend(array.shape)


def data_of(array: NDArray[Any]) -> NDArray[Any]:
    """Returns the array as its data travels: row-major and little-endian, itself where it is."""
    if array.dtype.kind != "V":  # bfloat16, as ml_dtypes registers it
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(array)


def decode(tensor: pb.Tensor, data: Content | None = None) -> NDArray[Any]:
    """Returns the message as an array, a read-only view where it can be; BFLOAT16 as float32.

    Args:
        tensor: The message.
        data: Its data, where that is not in the message.

    Raises:
        TensorError: An unknown type, dimensions that are none, or data of another length.
    """
    content = tensor.data if data is None else data  # once: protobuf copies the bytes each time
    return array_of(TensorForm(tensor.data_type, shape_of(tensor)), content)


def array_of(form: TensorForm, data: Content) -> NDArray[Any]:
    """Returns an array of this form, a view of its data where it can be; BFLOAT16 as float32.

    Raises:
        TensorError: An unknown type, or data of another length.
    """
    data_type, shape = form
    expected = byte_size(data_type, shape)
    if len(data) != expected:
        raise TensorError(
            Reason.INVALID_BYTE_LENGTH,
            f"data must have {expected} bytes for this shape, not {len(data)}",
        )
    array = np.frombuffer(data, _DTYPES[data_type]).reshape(shape)
    if data_type == pb.DATA_TYPE_BFLOAT16:
        widened = array.astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)
    if data_type == pb.DATA_TYPE_BOOL:
        truth: NDArray[np.bool_] = array != 0
        return truth
    # In a view of a message data may start anywhere, and computing from there takes twice as long.
    return array if array.flags.aligned else array.copy()


def shape_of(tensor: pb.Tensor) -> tuple[int, ...]:
    """Returns the dimensions, each from 1 to 2^31 - 1, at most 4 of them.

    Raises:
        TensorError: Dimensions that are none.
    """
    shape = tuple(tensor.shape) if len(tensor.shape) <= MAX_RANK else ()
    if not shape:
        raise TensorError(
            Reason.INVALID_SHAPE,
            f"shape must have 1 to {MAX_RANK} dimensions, not {len(tensor.shape)}",
        )
    if min(shape) < 1 or max(shape) > MAX_DIM:
        raise TensorError(
            Reason.INVALID_SHAPE,
            f"every dimension must be 1 to 2^31 - 1, but shape is {list(shape)}",
        )
    return shape


def byte_size(data_type: pb.DataType.ValueType, shape: tuple[int, ...]) -> int:
    """Returns the bytes that a tensor of this type and shape takes.

    Raises:
        TensorError: An unknown type.
    """
    if data_type not in _DTYPES:
        raise TensorError(
            Reason.INVALID_DATA_TYPE,
            "data_type must be FLOAT32, FLOAT16, BFLOAT16, BOOL or INT32",
        )
    return math.prod(shape) * _DTYPES[data_type].itemsize
