"""Whether the server's memory grows under requests of all shapes."""

from __future__ import annotations

import threading
import time
from functools import partial

from bench import mixed_load, process_memory
from bench.scenario import Bar, Contenders, Place, Scenario
from bench.spread import slope
from bench.worker import Figures, Worker

__all__ = ["memory"]

_WIDTHS = (384, 768)
_SERVER = "server"
_SAMPLE = 0.25  # seconds
_WARM_UP = 1 / 3  # of the time
_ENOUGH = 180.0  # seconds; before, what is allocated and freed hides what stays


def memory() -> Scenario:
    """Returns the scenario of mixed shapes, outputs and masks from four callers."""
    return Scenario(
        name="memory",
        title="requests of all shapes, outputs and masks, four callers: memory of the server",
        bars=(
            Bar(
                8,
                "growth after warm-up",
                (_SERVER, "growth_mib_a_minute"),
                None,
                at_most=1.0,
                unit="MiB a minute",
            ),
        ),
        contenders=_contenders,
        rounds=1,
        warms=False,
        full_only=True,
    )


def _contenders(place: Place) -> Contenders:
    server = place.server(*_WIDTHS)
    layers = {place.layer(width): width for width in _WIDTHS}
    worker = place.worker(mixed_load.mixed, server.address, layers)
    process_memory.resident_mib(server.pid)  # or it cannot be run here
    return {_SERVER: partial(_watch, worker, server.pid, place)}


def _watch(worker: Worker, pid: int, place: Place) -> Figures:
    seconds = place.form.memory_seconds
    watched = _Watched(pid)
    with watched:
        figures = worker(seconds=seconds)
    after = [(t, mib) for t, mib in watched.samples if t > _WARM_UP * seconds]
    times, mib = [t for t, _ in after], [mib for _, mib in after]
    growth = slope(times, mib)
    low, high = growth.interval.low, growth.interval.high
    shown = {"rate": figures["rate"], "first_mib": mib[0], "last_mib": mib[-1]}
    if seconds < _ENOUGH:
        place.notes.append(f"{seconds:g} s do not tell whether it grows: --full watches longer.")
        return shown
    place.notes.append(
        f"Growth by least squares over the last {times[-1] - times[0]:.0f} s: {low:.2f} to "
        f"{high:.2f} MiB a minute with 95 % confidence, were each sample independent."
    )
    return {"growth_mib_a_minute": growth.per_minute, **shown}


class _Watched:
    """Samples of a process's memory, in a thread, for as long as it is entered."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, float]] = []
        """Seconds since the beginning, MiB."""
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        began = time.monotonic()
        while not self._over.wait(_SAMPLE):
            mib = process_memory.resident_mib(self._pid)
            self.samples.append((time.monotonic() - began, mib))
