"""Sixteen callers in one process, that wait for answers or do not, against a plain server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from bench import load
from bench.scenario import Bar, Contenders, Place, Scenario
from bench.worker import Figures, Worker

__all__ = ["many_callers"]

_WIDTH = 384
_CALLERS = 16
_OURS, _PLAIN = "ours", "plain server"
_OPEN_LOADS = (0.5, 0.8)  # of what the plain server answers in a closed loop
_TRIALS = 2


def many_callers(low: int, high: int, bar: float, stretch: float) -> Scenario:
    """Returns the scenario of lengths drawn from low to high, the same for both servers."""
    tokens = f"{low} to {high} tokens"
    rates = (_OURS, "rate"), (_PLAIN, "rate")
    p99s = (_OURS, "p99_ms"), (_PLAIN, "p99_ms")
    return Scenario(
        name=f"callers-{high}",
        title=f"384 wide, 12 heads, 16 callers, {tokens}",
        bars=(
            Bar(3, f"{tokens}: rate / plain server", *rates, at_least=bar),
            Bar(0, f"{tokens}: the same, stretch", *rates, at_least=stretch),
            Bar(3, f"{tokens}: p99 / plain server", *p99s, at_most=1.0),
            *(
                Bar(
                    0,
                    f"{tokens}, Poisson at {share:.0%}: p99 / plain server",
                    (_at(_OURS, share), "p99_ms"),
                    (_at(_PLAIN, share), "p99_ms"),
                )
                for share in _OPEN_LOADS
            ),
        ),
        contenders=partial(_contenders, low, high),
    )


def _contenders(low: int, high: int, place: Place) -> Contenders:
    server = place.server(_WIDTH)
    ours = place.worker(load.served_load, server.address, place.layer(_WIDTH), _WIDTH, low, high)
    plain = {
        words: place.worker(
            load.plain_load, place.plain(_WIDTH, threads).address, _WIDTH, low, high
        )
        for threads, words in ((1, "one thread"), (0, "its default threads"))
    }
    place.wait()
    seconds = place.form.seconds
    words, rate = _quickest(plain, seconds)
    place.notes.append(
        f"The plain server's session has {words}, the quicker of one and its default."
    )
    both = {_OURS: ours, _PLAIN: plain[words]}
    contenders: dict[str, Callable[[], Figures]] = {
        name: partial(worker, seconds=seconds, callers=_CALLERS) for name, worker in both.items()
    }
    for share in _OPEN_LOADS if place.form.full else _OPEN_LOADS[:1]:
        place.notes.append(f"Poisson at {share:.0%} is {share * rate:.0f} requests a second.")
        for name, worker in both.items():
            contenders[_at(name, share)] = partial(worker, seconds=seconds, rate=share * rate)
    return contenders


def _quickest(workers: Mapping[str, Worker], seconds: float) -> tuple[str, float]:
    """Returns which server answers most in a closed loop, and how many a second."""
    best = dict.fromkeys(workers, 0.0)
    for _ in range(_TRIALS):
        for words, worker in workers.items():
            rate = worker(seconds=seconds, callers=_CALLERS)["rate"]
            best[words] = max(best[words], rate)
    return max(best.items(), key=lambda item: item[1])


def _at(name: str, share: float) -> str:
    return f"{name}, Poisson at {share:.0%}"
