"""Fields of a message as checked values; what is wrong is named by its path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.errors import InvalidRequest, Violation
from attention_server.domain.magnitude import largest_at_most
from attention_server.domain.request import BoolArray, Float32Array, Int32Array, Int64Array
from attention_service import tensor
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.tensor import Content, TensorForm
from attention_service.v1 import attention_pb2 as pb

__all__ = [
    "BOOLEANS",
    "FLOATS",
    "INTEGERS",
    "biases",
    "booleans",
    "check_shape",
    "check_type",
    "embeddings",
    "indices",
    "one_each",
    "shape",
    "whole_numbers",
]


class Kind(NamedTuple):
    """Element types that a field takes."""

    data_types: tuple[pb.DataType.ValueType, ...]
    wanted: str


FLOATS = Kind(
    (pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_BFLOAT16),
    "FLOAT32, FLOAT16 or BFLOAT16",
)
BOOLEANS = Kind((pb.DATA_TYPE_BOOL,), "BOOL, true for may attend")
INTEGERS = Kind((pb.DATA_TYPE_INT32,), "INT32")


def check_type(message: pb.Tensor, field: str, kind: Kind) -> None:
    """Refuses a tensor of other elements."""
    if message.data_type not in kind.data_types:
        raise InvalidRequest.of(
            Reason.INVALID_DATA_TYPE, f"{field}.data_type", f"must be {kind.wanted}"
        )


def shape(message: pb.Tensor, field: str, *ranks: int) -> tuple[int, ...]:
    """Returns the dimensions of a tensor of one of these ranks; reads no data."""
    try:
        dims = tensor.shape_of(message)
    except tensor.TensorError as error:
        raise InvalidRequest.of(error.reason, f"{field}.shape", str(error)) from None
    if len(dims) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            f"{field}.shape",
            f"must have {wanted} dimensions, not {len(dims)}",
        )
    return dims


def check_shape(field: str, dims: Sequence[int], expected: Sequence[int], names: str) -> None:
    """Refuses other dimensions than expected; ``names`` says what they are."""
    if tuple(dims) != tuple(expected):
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            f"{field}.shape",
            f"must be {names} = {list(expected)}, not {list(dims)}",
        )


def embeddings(form: TensorForm, data: Content, field: str) -> Float32Array:
    """Returns finite floats as float32."""
    array = _floats(form, data, field)
    if not math.isfinite(largest_at_most(array)):
        at = list(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise InvalidRequest.of(
            Reason.NON_FINITE, field, f"must be finite, padding included, but {at} is not"
        )
    return array


def biases(form: TensorForm, data: Content, field: str) -> Float32Array:
    """Returns biases as float32: finite, or -inf for the lowest float32 and below."""
    array = _floats(form, data, field)
    if not float(array.max()) < math.inf:  # NaN compares false too
        raise InvalidRequest.of(Reason.NON_FINITE, field, "must not hold NaN or +inf; -inf forbids")
    lowest = np.finfo(np.float32).min
    if array.min() <= lowest:
        array = np.where(array <= lowest, np.float32(-np.inf), array)
    return array


def booleans(form: TensorForm, data: Content, field: str) -> BoolArray:
    """Returns a boolean tensor; true means "may attend"."""
    return _array(form, data, field)


def whole_numbers(form: TensorForm, data: Content, field: str) -> Int32Array:
    """Returns integers of 0 or more, int32."""
    array = _array(form, data, field)
    if array.min() < 0:
        at = list(map(int, np.argwhere(array < 0)[0]))
        raise InvalidRequest.of(
            Reason.OUT_OF_RANGE, field, f"must be 0 to 2^31 - 1, but {at} is {array[tuple(at)]}"
        )
    return array.astype(np.int32, copy=False)


def one_each(
    values: Sequence[int], field: str, batch: int, low: int, high: int
) -> Int64Array | None:
    """Returns a list with one entry a sequence, each in low .. high; None for an empty list."""
    if not len(values):
        return None
    if len(values) != batch:
        raise InvalidRequest.of(
            Reason.INVALID_COUNT,
            field,
            f"must have one entry a sequence, {batch}, not {len(values)}",
        )
    return _in_range(values, field, low, high)


def indices(
    values: Sequence[int], field: str, size: int, limits: Limits
) -> NDArray[np.intp] | None:
    """Returns indices of 0 .. size - 1; None for an empty list."""
    if not len(values):
        return None
    limits.check_entries(field, len(values))
    return _in_range(values, field, 0, size - 1).astype(np.intp, copy=False)


def _in_range(values: Sequence[int], field: str, low: int, high: int) -> Int64Array:
    """Returns integers of 64 bits; without a step in Python for each, for there may be many."""
    array = np.fromiter(values, np.int64, len(values))
    wrong = np.flatnonzero((array < low) | (array > high))[: InvalidRequest.MAX_VIOLATIONS + 1]
    if len(wrong):
        must = f"must be {low} to {high}"
        raise InvalidRequest(
            Reason.OUT_OF_RANGE,
            *(Violation(f"{field}[{i}]", f"{must}, not {array[i]}") for i in wrong),
        )
    return array


def _floats(form: TensorForm, data: Content, field: str) -> Float32Array:
    array = _array(form, data, field)
    if array.dtype == np.float32:
        return array
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused later
        return array.astype(np.float32, copy=False)


def _array(form: TensorForm, data: Content, field: str) -> NDArray[Any]:
    try:
        return tensor.array_of(form, data)
    except tensor.TensorError as error:
        raise InvalidRequest.of(error.reason, f"{field}.data", str(error)) from None
