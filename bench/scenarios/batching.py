"""Batching allowed against batching off, round after round, on two servers alike but for that."""

from __future__ import annotations

from functools import partial

from bench import load
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["batching"]

_WIDTH = 384
_ON, _OFF = "batching", "no batching"
_MOST_LOST = 0.03
_MOST_P99_LOST = 0.10


def batching(callers: int, low: int, high: int, *, full_only: bool = False) -> Scenario:
    """Returns the scenario of so many callers, lengths drawn from low to high."""
    said = f"{callers} callers, {low} to {high} tokens" if callers > 1 else "one caller"
    return Scenario(
        name=f"batching-{callers}-{high}",
        title=f"384 wide, 12 heads, {said}: batching allowed, and not",
        bars=(
            Bar(
                4,
                f"{said}: rate / without batching",
                (_ON, "rate"),
                (_OFF, "rate"),
                at_least=1 - _MOST_LOST,
                judged_by="bound",
            ),
            Bar(
                4,
                f"{said}: p99 / without batching",
                (_ON, "p99_ms"),
                (_OFF, "p99_ms"),
                at_most=1 + _MOST_P99_LOST,
                judged_by="bound",
            ),
        ),
        contenders=partial(_contenders, callers, low, high),
        rounds=20,
        full_only=full_only,
    )


def _contenders(callers: int, low: int, high: int, place: Place) -> Contenders:
    workers = {}
    for name, flag in ((_ON, "--batching"), (_OFF, "--no-batching")):
        server = place.server(_WIDTH, flags=[flag])
        workers[name] = place.worker(
            load.served_load, server.address, place.layer(_WIDTH), _WIDTH, low, high
        )
    return {
        name: partial(worker, seconds=place.form.seconds, callers=callers)
        for name, worker in workers.items()
    }
