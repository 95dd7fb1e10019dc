"""What it costs to say what each head attends to."""

from __future__ import annotations

from functools import partial

from bench import one_caller
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["heads"]

_WIDTH = 768
_OUTPUT, _ANALYSIS = "output", "analysis"


def heads(length: int = 2048) -> Scenario:
    """Returns the scenario of an analysis of all heads beside the output alone."""
    return Scenario(
        name="heads",
        title=f"768 wide, 12 heads, 1 x {length:,} tokens: AnalyzeHeads, or the output alone",
        bars=(
            Bar(9, "analysis / output: time", (_ANALYSIS, "ms"), (_OUTPUT, "ms"), 2.5),
            Bar(9, "answer", (_ANALYSIS, "kib"), None, 4.0, unit="KiB"),
        ),
        contenders=partial(_contenders, length),
    )


def _contenders(length: int, place: Place) -> Contenders:
    address, model = place.server(_WIDTH).address, place.layer(_WIDTH)
    shape = (1, length, _WIDTH)
    workers = {
        _OUTPUT: place.worker(one_caller.served, address, model, shape),
        _ANALYSIS: place.worker(one_caller.analyzed, address, model, shape),
    }
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}
