"""What many measurements say: middle, spread, and how sure one can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "Slope", "Spread", "bootstrap", "paired_ratios", "slope", "spread"]

_CONFIDENCE = 0.95
_DRAWS = 2000
_SEED = 0  # the same figures give the same bounds
_NORMAL_95 = 1.96  # standard errors on either side of 95 % of a normal distribution

Values = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    q1: float
    q3: float


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Slope:
    """How fast something grows, a minute, with its 95 % confidence interval."""

    per_minute: float
    interval: Interval


def spread(values: Values) -> Spread:
    """Returns median and quartiles of at least one value."""
    q1, median, q3 = np.percentile(np.asarray(values, np.float64), (25, 50, 75))
    return Spread(float(median), float(q1), float(q3))


def paired_ratios(ours: Values, theirs: Values) -> NDArray[np.float64]:
    """Returns ours / theirs, round by round: what slows a whole round down cancels out."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds cannot be paired with {len(theirs)}")
    ratios: NDArray[np.float64] = np.asarray(ours, np.float64) / np.asarray(theirs, np.float64)
    return ratios


def bootstrap(values: Values) -> Interval:
    """Returns the interval of the median, by the percentile bootstrap (Efron 1979)."""
    sample = np.asarray(values, np.float64)
    drawn = np.random.default_rng(_SEED).integers(0, len(sample), (_DRAWS, len(sample)))
    medians = np.median(sample[drawn], axis=1)
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(medians, (tail, 100 - tail))
    return Interval(float(low), float(high))


def slope(seconds: Values, values: Values) -> Slope:
    """Returns the least-squares slope of at least three values.

    The interval is that of independent errors, so it is narrow where neighbours are alike.
    """
    x = np.asarray(seconds, np.float64) / 60
    y = np.asarray(values, np.float64)
    x = x - x.mean()
    squares = float(x @ x)
    per_minute = float(x @ y) / squares
    residuals = y - y.mean() - per_minute * x
    error = np.sqrt(float(residuals @ residuals) / (len(x) - 2) / squares)
    margin = float(_NORMAL_95 * error)
    return Slope(per_minute, Interval(per_minute - margin, per_minute + margin))
