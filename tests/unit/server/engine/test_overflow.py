"""What float32 cannot hold is refused, and found before it can spoil an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.magnitude import largest_magnitude
from attention_server.engine.overflow import (
    check_finite,
    check_scores,
    largest_bias,
    largest_position_bias,
    largest_score,
    may_overflow,
)
from attention_service.reasons import Reason

_LARGEST = float(np.finfo(np.float32).max)


def _float32(numbers: Any) -> NDArray[np.float32]:
    return np.asarray(numbers, np.float32)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([1.0, -3.0, 2.0], 3.0), ([-1.0], 1.0), ([0.0], 0.0), ([1.0, -np.inf], np.inf)],
)
def test_largest_magnitude(numbers: list[float], expected: float) -> None:
    assert largest_magnitude(_float32(numbers)) == expected


def test_largest_magnitude_of_what_holds_nan_is_nan() -> None:
    assert np.isnan(largest_magnitude(_float32([1.0, np.nan, 2.0])))


def _worst_score(query: NDArray[np.float32], key: NDArray[np.float32], scale: float) -> float:
    """Returns the largest magnitude that adding up one product after the other may come to."""
    products = np.abs(query * np.float32(scale))[..., :, None, :] * np.abs(key)[..., None, :, :]
    return float(np.add.accumulate(products, axis=-1, dtype=np.float32).max())


@given(
    seed=st.integers(0, 2**32 - 1),
    head_dim=st.integers(1, 100),
    # Powers of two whose product lies around the end of float32.
    query_exponent=st.integers(30, 90),
    product_exponent=st.floats(118.0, 130.0),
    scale=st.sampled_from([1.0, 0.125, -3.0, 1e4]),
    bias_share=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_what_is_let_through_does_not_overflow(
    seed: int,
    head_dim: int,
    query_exponent: int,
    product_exponent: float,
    scale: float,
    bias_share: float,
) -> None:
    random = np.random.default_rng(seed)
    query = _float32(2.0**query_exponent * random.uniform(-1, 1, (1, 1, 3, head_dim)))
    key = _float32(
        2.0 ** (product_exponent - query_exponent) * random.uniform(-1, 1, (1, 1, 2, head_dim))
    )
    bias = bias_share * _LARGEST

    try:
        suspected = may_overflow(largest_score(query, key, scale) + bias)
    except InvalidRequest:
        return

    with np.errstate(over="ignore"):
        worst = _worst_score(query, key, scale) + bias
    assert suspected or worst <= _LARGEST


@pytest.mark.parametrize(
    ("head_dim", "query", "key"),
    [
        (10, "0x1.4c89fe0000000p+62", "0x1.3b52fc0000000p+62"),
        (18, "0x1.980d000000000p+62", "0x1.1d863c0000000p+61"),
        (20, "0x1.8f9a2e0000000p+62", "0x1.0667a60000000p+61"),
    ],
)
def test_sums_that_only_rounding_carries_beyond_float32_are_found(
    head_dim: int, query: str, key: str
) -> None:
    queries = np.full((1, 1, 1, head_dim), float.fromhex(query), np.float32)
    keys = np.full((1, 1, 1, head_dim), float.fromhex(key), np.float32)
    assert head_dim * float.fromhex(query) * float.fromhex(key) <= _LARGEST
    with np.errstate(over="ignore"):
        assert _worst_score(queries, keys, 1.0) == np.inf

    assert may_overflow(largest_score(queries, keys, 1.0))


@pytest.mark.parametrize(
    ("query", "key", "scale"),
    [(np.inf, 1.0, 1.0), (1.0, np.inf, 1.0), (np.nan, 1.0, 1.0), (1.0, np.nan, 1.0), (1e38, 0, 10)],
    ids=["infinite query", "infinite key", "NaN in query", "NaN in key", "query times scale"],
)
def test_heads_that_overflow_themselves_are_refused(query: float, key: float, scale: float) -> None:
    with pytest.raises(InvalidRequest) as refused:
        largest_score(_float32([[[[query]]]]), _float32([[[[key]]]]), scale)

    assert refused.value.reason is Reason.SCORE_OVERFLOW


def test_ordinary_heads_are_not_suspected() -> None:
    query, key = np.random.default_rng(0).standard_normal((2, 2, 4, 9, 64)).astype(np.float32)

    assert not may_overflow(largest_score(query, key, 0.125) + 1e30)


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        (None, 0.0),
        ([1.0, -3.0], 3.0),
        ([2.0, -np.inf], 2.0),
        ([-np.inf], 0.0),
    ],
)
def test_largest_bias_is_that_of_keys_in_sight(bias: list[float] | None, expected: float) -> None:
    assert largest_bias(None if bias is None else _float32([[[bias]]])) == expected


@pytest.mark.parametrize("numbers", [[1.0, np.inf], [-np.inf, 0.0], [np.nan]])
def test_position_bias_that_is_not_finite_is_refused(numbers: list[float]) -> None:
    with pytest.raises(InvalidRequest, match="bias of these positions") as refused:
        largest_position_bias(_float32(numbers))

    assert refused.value.reason is Reason.SCORE_OVERFLOW


@pytest.mark.parametrize(
    ("scores", "bias"),
    [
        ([[1.0, 2.0]], None),
        ([[1.0, 2.0]], [[-np.inf, -np.inf]]),
        ([[1e38, -1e38]], [[-np.inf, 1e38]]),
        ([[_LARGEST]], [[-np.inf]]),
        ([[_LARGEST]], [[-_LARGEST]]),
    ],
    ids=["no bias", "forbidden", "large", "the largest forbidden", "the largest and its opposite"],
)
def test_scores_within_float32_pass(
    scores: list[list[float]], bias: list[list[float]] | None
) -> None:
    _check(scores, bias)


def _check(scores: list[list[float]], bias: list[list[float]] | None) -> None:
    """Checks scores with the request's own bias, -inf of which forbids."""
    if bias is None:
        check_scores(_float32(scores), 0.0, None, None)
    else:
        check_scores(_float32(scores), 0.0, _float32(bias), _float32(bias) > -np.inf)


def test_softcap_comes_before_the_bias() -> None:
    check_scores(_float32([[2.2e38]]), 5.0, _float32([[2e38]]), None)


@pytest.mark.parametrize("bias", [np.inf, -np.inf])
def test_biases_whose_sum_overflowed_in_sight_are_refused(bias: float) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_scores(_float32([[1.0]]), 0.0, _float32([[bias]]), np.array([[True]]))

    assert refused.value.reason is Reason.SCORE_OVERFLOW


@pytest.mark.parametrize(
    ("scores", "bias"),
    [
        ([[1.0, np.inf]], None),
        ([[1.0, -np.inf]], None),
        ([[1.0, np.nan]], None),
        ([[1.0, np.inf]], [[0.0, -np.inf]]),
        ([[3e38]], [[3e38]]),
        ([[-3e38]], [[-3e38]]),
    ],
    ids=["inf", "-inf", "NaN", "inf where it is forbidden", "with a bias", "with a bias below"],
)
def test_scores_beyond_float32_are_refused(
    scores: list[list[float]], bias: list[list[float]] | None
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _check(scores, bias)

    assert refused.value.reason is Reason.SCORE_OVERFLOW


@pytest.mark.parametrize("numbers", [[1.0, np.inf], [-np.inf], [np.nan, 1.0]])
def test_an_answer_that_is_not_finite_is_refused_by_its_name(numbers: list[float]) -> None:
    with pytest.raises(InvalidRequest, match=r"^the output overflows float32") as refused:
        check_finite(_float32(numbers), "the output")

    assert refused.value.reason is Reason.VALUE_OVERFLOW
