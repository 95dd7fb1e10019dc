from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_server.domain.errors import InvalidRequest
from attention_server.edge import fields
from attention_service import tensor
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

LIMITS = Limits(message_bytes=1 << 20, batch=4, length=100, work=1 << 20, stream_bytes=1 << 20)

DTYPES: list[Any] = [np.float32, np.float16, ml_dtypes.bfloat16]
LOWEST = float(np.finfo(np.float32).min)
INF, NAN = float("inf"), float("nan")


def encoded(values: Any, dtype: Any = np.float32) -> Any:
    with np.errstate(over="ignore"):
        return tensor.encode(np.asarray(values, np.float64).astype(dtype))


def parts(message: pb.Tensor) -> tuple[tensor.TensorForm, bytes]:
    return tensor.TensorForm(message.data_type, tensor.shape_of(message)), message.data


@pytest.mark.parametrize("dtype", DTYPES)
@given(values=st.lists(st.floats(width=32), min_size=1))
def test_embeddings_are_taken_where_all_are_finite(dtype: Any, values: list[float]) -> None:
    message = encoded(values, dtype)
    array: NDArray[Any] = tensor.decode(message).astype(np.float32)

    if np.isfinite(array).all():
        assert np.array_equal(fields.embeddings(*parts(message), "query"), array)
    else:
        with pytest.raises(InvalidRequest) as caught:
            fields.embeddings(*parts(message), "query")
        assert caught.value.reason is Reason.NON_FINITE


@given(place=st.integers(0, 23), value=st.sampled_from([NAN, INF, -INF]))
def test_place_of_what_is_not_finite_is_told(place: int, value: float) -> None:
    values = np.zeros((2, 3, 4))
    values.flat[place] = value

    with pytest.raises(InvalidRequest) as caught:
        fields.embeddings(*parts(encoded(values)), "key")

    at = [int(i) for i in np.unravel_index(place, (2, 3, 4))]
    assert str(at) in caught.value.message


@given(values=st.lists(st.floats(width=32), min_size=1))
def test_biases_are_taken_where_none_is_nan_or_plus_infinity(values: list[float]) -> None:
    message = encoded(values)
    if any(np.isnan(values)) or INF in values:
        with pytest.raises(InvalidRequest) as caught:
            fields.biases(*parts(message), "mask.attn_bias")
        assert caught.value.reason is Reason.NON_FINITE
    else:
        expected = [-INF if value <= LOWEST else value for value in values]
        assert fields.biases(*parts(message), "mask.attn_bias").tolist() == expected


@pytest.mark.parametrize(
    ("value", "dtype", "forbids"),
    [
        (-INF, np.float32, True),
        (LOWEST, np.float32, True),
        (np.nextafter(np.float32(LOWEST), np.float32(0)), np.float32, False),
        (-INF, np.float16, True),
        (float(np.finfo(np.float16).min), np.float16, False),
        (-INF, ml_dtypes.bfloat16, True),
        (-3.3895313892515355e38, ml_dtypes.bfloat16, False),
    ],
)
def test_lowest_float32_and_below_forbid(value: float, dtype: Any, forbids: bool) -> None:
    (bias,) = fields.biases(*parts(encoded([value], dtype)), "mask.attn_bias")

    assert (bias == -INF) is np.bool_(forbids)


def test_embeddings_in_float32_are_not_copied() -> None:
    message = encoded([[1.0, 2.0]])

    assert not fields.embeddings(*parts(message), "query").flags.owndata


def test_any_byte_but_zero_is_true() -> None:
    message = tensor.encode(np.array([True, False]))
    message.data = b"\x80\x00"

    assert fields.booleans(*parts(message), "mask.key_mask").tolist() == [True, False]


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40),
    batch=st.integers(1, 40),
    high=st.integers(0, 2**31),
)
def test_one_each_takes_one_in_range_for_each_sequence(
    values: list[int], batch: int, high: int
) -> None:
    wrong = [i for i, value in enumerate(values) if not 0 <= value <= high]
    if values and (len(values) != batch or wrong):
        with pytest.raises(InvalidRequest) as caught:
            fields.one_each(values, "f", batch, 0, high)
        if len(values) != batch:
            assert caught.value.reason is Reason.INVALID_COUNT
        else:
            named = [violation.field for violation in caught.value.violations]
            assert named == [f"f[{i}]" for i in wrong[:16]]
    else:
        taken = fields.one_each(values, "f", batch, 0, high)
        assert (None if taken is None else taken.tolist()) == (values or None)


def test_more_indices_than_any_query_is_long_are_refused() -> None:
    with pytest.raises(OverLimit) as caught:
        fields.indices([0] * 101, "f", 1, LIMITS)

    assert caught.value.reason is Reason.LENGTH_LIMIT


@given(values=st.lists(st.integers(0, 2**32 - 1)), size=st.integers(1, 2**31))
def test_indices_are_taken_in_their_order_repeats_included(values: list[int], size: int) -> None:
    if any(value >= size for value in values):
        with pytest.raises(InvalidRequest) as caught:
            fields.indices(values, "f", size, LIMITS)
        assert caught.value.reason is Reason.OUT_OF_RANGE
    else:
        taken = fields.indices(values, "f", size, LIMITS)
        assert (None if taken is None else taken.tolist()) == (values or None)
