"""Closed and open loops: many callers in one process, that wait for answers or do not.

In a closed loop each caller asks anew when it was answered, so a slow server is asked less. In an
open loop requests come when they come, and a slow server has a queue: its waiting counts, from the
moment a request was due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import arrivals
from bench.worker import Figures

__all__ = ["Ask", "Measure", "closed_loop", "load", "open_loop"]

Ask = Callable[[NDArray[np.float32]], Any]
"""Asks for attention over embeddings [length, width] and waits for the answer."""
Measure = Callable[..., Figures]

_SEED = 5
_DRAWN = 4096  # lengths, then from the start again
_MOST_IN_FLIGHT = 128  # of an open loop; more than that wait in the generator, and that counts too


def load(ask: Ask, width: int, low: int, high: int) -> Measure:
    """Returns what measures a closed loop of so many callers, or, with a rate, an open one.

    Lengths are drawn from low to high, the same ones whoever is asked.
    """
    longest = arrivals.embeddings(high, width)
    drawn = [longest[:length] for length in arrivals.lengths(low, high, _DRAWN, _SEED)]

    def measure(seconds: float, callers: int = 0, rate: float = 0.0) -> Figures:
        if rate:
            return open_loop(ask, drawn, arrivals.poisson(rate, seconds, _SEED))
        return closed_loop(ask, drawn, callers, seconds)

    return measure


def closed_loop(
    ask: Ask, drawn: Sequence[NDArray[np.float32]], callers: int, seconds: float
) -> Figures:
    """Returns rate (answers a second) and latency where so many callers ask without a pause.

    Request i is drawn[i], whoever of the callers asks it.
    """
    numbers = _Numbers()
    start = threading.Barrier(callers + 1)
    end = [0.0]

    def caller() -> list[float]:
        taken = []
        start.wait()
        while (begin := time.perf_counter()) < end[0]:
            ask(drawn[numbers.next() % len(drawn)])
            taken.append(time.perf_counter() - begin)
        return taken

    def begin() -> float:
        end[0] = time.perf_counter() + seconds
        start.wait()
        return end[0] - seconds

    return _gathered(caller, callers, begin)


def open_loop(ask: Ask, drawn: Sequence[NDArray[np.float32]], due: NDArray[np.float64]) -> Figures:
    """Returns rate and latency where request i comes due[i] seconds after the start.

    Latency counts from the moment it was due, also where nobody was free to send it.
    """
    numbers = _Numbers()
    start = threading.Barrier(_MOST_IN_FLIGHT + 1)
    beginning = [0.0]

    def sender() -> list[float]:
        taken = []
        start.wait()
        while (number := numbers.next()) < len(due):
            moment = beginning[0] + due[number]
            time.sleep(max(0.0, moment - time.perf_counter()))
            ask(drawn[number % len(drawn)])
            taken.append(time.perf_counter() - moment)
        return taken

    def begin() -> float:
        beginning[0] = time.perf_counter() + 0.05  # until all are awake
        start.wait()
        return beginning[0]

    return _gathered(sender, _MOST_IN_FLIGHT, begin)


class _Numbers:
    """0, 1, 2, ... to whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def next(self) -> int:
        with self._lock:
            self._next += 1
            return self._next - 1


def _gathered(
    caller: Callable[[], list[float]], callers: int, begin: Callable[[], float]
) -> Figures:
    """Runs callers as threads and returns what all of them together saw."""
    with ThreadPoolExecutor(callers) as pool:
        all_of_them = [pool.submit(caller) for _ in range(callers)]
        began = begin()
        taken = [seconds for each in all_of_them for seconds in each.result()]
    ended = time.perf_counter()
    median, p99 = np.percentile(taken, (50, 99)) * 1e3
    return {"rate": len(taken) / (ended - began), "ms": float(median), "p99_ms": float(p99)}
