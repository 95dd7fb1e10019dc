"""What attention weights cost: one row of many, and all of few."""

from __future__ import annotations

from functools import partial

from attention_client import WeightsSpec
from bench import one_caller
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["all_weights", "one_row"]

_WIDTH = 768
_SHORT = 128
_ROW, _ALL = "one row", "all weights"
_OUTPUT, _BOTH = "output", "output and all weights"


def one_row(length: int = 4096) -> Scenario:
    """Returns the scenario of the weights of one query beside those of all."""
    return Scenario(
        name="weights-row",
        title=f"768 wide, 12 heads, 1 x {length:,} tokens, no output: weights of one query or all",
        bars=(
            Bar(6, "one row / all weights: time", (_ROW, "ms"), (_ALL, "ms"), 1 / 20),
            Bar(6, "one row / all weights: bytes", (_ROW, "mib"), (_ALL, "mib"), 1 / 1000),
        ),
        contenders=partial(_row_contenders, length),
        slow=True,
    )


def _row_contenders(length: int, place: Place) -> Contenders:
    address, model = place.server(_WIDTH).address, place.layer(_WIDTH)
    specs = {_ROW: WeightsSpec(query_indices=[-1]), _ALL: True}
    workers = {
        name: place.worker(
            one_caller.served, address, model, (1, length, _WIDTH), weights=spec, output=False
        )
        for name, spec in specs.items()
    }
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}


def all_weights() -> Scenario:
    """Returns the scenario of all weights of a short sequence beside none."""
    return Scenario(
        name="weights-all",
        title="768 wide, 12 heads, 1 x 128 tokens: computing with all weights, and without",
        bars=(
            Bar(
                6,
                "all weights / none: computing",
                (_BOTH, "compute_ms"),
                (_OUTPUT, "compute_ms"),
                1.25,
            ),
        ),
        contenders=_all_contenders,
    )


def _all_contenders(place: Place) -> Contenders:
    address, model = place.server(_WIDTH).address, place.layer(_WIDTH)
    workers = {
        name: place.worker(
            one_caller.served, address, model, (1, _SHORT, _WIDTH), weights=name == _BOTH
        )
        for name in (_OUTPUT, _BOTH)
    }
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}
