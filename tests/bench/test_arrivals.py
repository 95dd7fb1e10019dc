"""What load is made of: when requests come, and how long they are."""

from __future__ import annotations

import numpy as np
import pytest

from bench.arrivals import lengths, poisson

RATE, SECONDS = 500.0, 40.0


def test_arrivals_come_in_order_within_the_time() -> None:
    times = poisson(RATE, SECONDS, seed=1)
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < SECONDS


def test_arrivals_are_a_poisson_process() -> None:
    counts = np.histogram(poisson(RATE, SECONDS, seed=1), bins=400, range=(0, SECONDS))[0]
    assert counts.mean() == pytest.approx(RATE * SECONDS / 400, rel=0.03)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)  # what makes it Poisson
    gaps = np.diff(poisson(RATE, SECONDS, seed=1))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # and the gaps exponential


@pytest.mark.parametrize("rate", [0.01, 3.0])
def test_few_arrivals_come_as_rarely_as_asked(rate: float) -> None:
    counts = [len(poisson(rate, 10.0, seed)) for seed in range(300)]
    assert np.mean(counts) == pytest.approx(10 * rate, rel=0.6 if rate < 1 else 0.1)


def test_the_same_seed_draws_the_same() -> None:
    np.testing.assert_array_equal(poisson(RATE, 1.0, seed=3), poisson(RATE, 1.0, seed=3))
    np.testing.assert_array_equal(lengths(8, 128, 50, seed=3), lengths(8, 128, 50, seed=3))


def test_lengths_reach_from_the_lowest_to_the_highest() -> None:
    drawn = lengths(4, 16, 2000, seed=1)
    assert set(drawn.tolist()) == set(range(4, 17))
