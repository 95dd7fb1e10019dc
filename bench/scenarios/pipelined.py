"""Many requests over one stream, beside a unary call each."""

from __future__ import annotations

from functools import partial

from bench import many_requests
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["pipelined"]

_WIDTH, _LENGTH = 384, 8
_MANY, _UNARY, _ATTEND = "attend_many", "unary Attend in a loop", "attend in a loop"


def pipelined(requests: int = 1000) -> Scenario:
    """Returns the scenario of many requests of 8 tokens."""
    unary = (_UNARY, "rate")
    return Scenario(
        name="many",
        title=f"384 wide, 12 heads, {requests:,} requests of 8 tokens, one caller",
        bars=(
            Bar(7, "attend_many / unary calls: rate", (_MANY, "rate"), unary, at_least=3.0),
            Bar(0, "attend in a loop / unary calls: rate", (_ATTEND, "rate"), unary),
        ),
        contenders=partial(_contenders, requests),
    )


def _contenders(requests: int, place: Place) -> Contenders:
    address, model = place.server(_WIDTH).address, place.layer(_WIDTH)
    made = {
        _MANY: many_requests.pipelined,
        _UNARY: many_requests.unary_calls,
        _ATTEND: many_requests.one_by_one,
    }
    workers = {
        name: place.worker(make, address, model, (1, _LENGTH, _WIDTH))
        for name, make in made.items()
    }
    at_a_time = requests if place.form.full else requests // 5
    return {name: partial(worker, requests=at_a_time) for name, worker in workers.items()}
