"""Closed and open loops: who is asked what, and from when on waiting counts."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.loops import closed_loop, open_loop

DRAWN = [np.full((1, 1), number, np.float32) for number in range(7)]


class Asked:
    """Notes what it is asked for, and answers one at a time, each after so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.numbers: list[int] = []
        self._seconds = seconds
        self._one_at_a_time = threading.Lock()

    def __call__(self, x: NDArray[np.float32]) -> None:
        with self._one_at_a_time:
            self.numbers.append(int(x[0, 0]))
            time.sleep(self._seconds)


def test_an_open_loop_asks_for_each_request_once() -> None:
    asked = Asked()
    open_loop(asked, DRAWN, np.linspace(0.0, 0.02, 20))
    assert sorted(asked.numbers) == sorted(number % 7 for number in range(20))


def test_waiting_in_a_queue_counts_in_an_open_loop() -> None:
    # All ten are due at once and are answered one after the other: the last waits for all.
    figures = open_loop(Asked(seconds=0.02), DRAWN, np.zeros(10))
    assert figures["p99_ms"] >= 0.9 * 10 * 20
    assert figures["ms"] >= 0.9 * 5 * 20


def test_no_caller_of_a_closed_loop_asks_before_it_was_answered() -> None:
    figures = closed_loop(Asked(seconds=0.01), DRAWN, callers=3, seconds=0.2)
    # Each waits for its own request and for those of the other two.
    assert figures["p99_ms"] >= 0.9 * 3 * 10
    assert figures["rate"] <= 1 / 0.01


def test_the_rate_of_a_closed_loop_counts_every_answer() -> None:
    asked = Asked(seconds=0.001)
    begin = time.perf_counter()
    figures = closed_loop(asked, DRAWN, callers=4, seconds=0.1)
    taken = time.perf_counter() - begin
    assert figures["rate"] >= len(asked.numbers) / taken


def failing(x: NDArray[np.float32]) -> None:
    raise ConnectionError("gone")


LOOPS = {
    "closed": lambda: closed_loop(failing, DRAWN, callers=2, seconds=0.05),
    "open": lambda: open_loop(failing, DRAWN, np.zeros(3)),
}


@pytest.mark.parametrize("kind", LOOPS)
def test_a_failed_request_fails_the_load(kind: str) -> None:
    with pytest.raises(ConnectionError, match="gone"):
        LOOPS[kind]()
