"""Times one call after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.worker import Figures

__all__ = ["latencies", "timed"]


def timed(call: Callable[[], Any], seconds: float) -> NDArray[np.float64]:
    """Calls for so long, once at least, and returns what each call took, milliseconds [calls]."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end or not taken:
        call()
        taken.append(time.perf_counter() - begin)
    return np.array(taken) * 1e3


def latencies(taken_ms: NDArray[np.float64]) -> Figures:
    """Returns the figures of one round: the median, and the time that 99 of 100 stay under."""
    median, p99 = np.percentile(taken_ms, (50, 99))
    return {"ms": float(median), "p99_ms": float(p99)}
