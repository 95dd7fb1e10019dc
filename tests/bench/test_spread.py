"""The arithmetic behind every figure of the benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from bench.spread import bootstrap, paired_ratios, slope, spread


def test_a_spread_is_median_and_quartiles() -> None:
    each = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (each.q1, each.median, each.q3) == (2.0, 3.0, 4.0)


def test_ratios_are_taken_round_by_round() -> None:
    # The machine was three times slower in the second round, for both.
    np.testing.assert_array_equal(paired_ratios([2.0, 6.0], [1.0, 3.0]), [2.0, 2.0])


def test_rounds_that_have_no_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rounds cannot be paired with 1"):
        paired_ratios([1.0, 2.0], [1.0])


def test_the_bootstrap_holds_the_true_median_19_times_of_20() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        interval = bootstrap(random.normal(10.0, 1.0, 30))
        held += interval.low <= 10.0 <= interval.high
    assert 180 <= held <= 199


def test_the_bootstrap_of_one_value_is_that_value() -> None:
    interval = bootstrap([3.0])
    assert (interval.low, interval.high) == (3.0, 3.0)


def test_a_slope_is_a_minute_s_growth() -> None:
    seconds = np.arange(0.0, 120.0, 0.5)
    line = slope(seconds, 100 + 2.5 * seconds / 60)
    assert line.per_minute == pytest.approx(2.5)
    assert line.interval.high - line.interval.low == pytest.approx(0, abs=1e-9)


def test_a_slope_s_interval_holds_the_true_one_19_times_of_20() -> None:
    random = np.random.default_rng(1)
    seconds = np.arange(0.0, 60.0, 0.5)
    held = 0
    for _ in range(200):
        line = slope(seconds, 3 * seconds / 60 + random.normal(0, 5, len(seconds)))
        held += line.interval.low <= 3 <= line.interval.high
    assert 180 <= held <= 199
