from __future__ import annotations

import math

import numpy as np
import pytest

from attention_server.domain.magnitude import largest_at_most
from attention_server.domain.request import Float32Array


@pytest.mark.parametrize("count", [1, 100, 8192, 8193])
@pytest.mark.parametrize("largest", [0.0, 1e-42, 1e-20, 1.0, -1.0, 1e19, -3.4e38])
def test_largest_magnitude_is_finite_and_not_beyond_what_is_told(
    count: int, largest: float
) -> None:
    array: Float32Array = np.full((1, count), largest, np.float32)

    assert abs(float(array[0, 0])) <= largest_at_most(array) < math.inf


@pytest.mark.parametrize("count", [1, 100, 8192, 8193])
@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_one_number_that_is_not_finite_is_seen(count: int, wrong: float) -> None:
    array: Float32Array = np.ones((1, count), np.float32)
    array[0, count // 2] = wrong

    assert not math.isfinite(largest_at_most(array))
