"""When requests come and how long they are, drawn from a seed: the same for every contender."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["embeddings", "lengths", "poisson"]


def poisson(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Returns the times in [0, seconds) at which requests come that know nothing of each other.

    ``rate`` is a second; the gaps are exponential, so their number is Poisson distributed.
    """
    random = np.random.default_rng(seed)
    times: NDArray[np.float64] = np.empty(0)
    while not times.size or times[-1] < seconds:
        last = times[-1] if times.size else 0.0
        gaps = random.exponential(1 / rate, max(16, int(rate * seconds)))
        times = np.concatenate((times, last + np.cumsum(gaps)))
    return times[times < seconds]


def lengths(low: int, high: int, count: int, seed: int) -> NDArray[np.int64]:
    """Returns ``count`` lengths from low to high, both included, each as likely as the others."""
    return np.random.default_rng(seed).integers(low, high + 1, count)


def embeddings(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Returns random embeddings, float32 of that shape."""
    drawn: NDArray[Any] = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return drawn
