"""Runs a scenario: contenders take turns, round by round, after one round that warms them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.scenario import Form, Place, Scenario
from bench.worker import Figures, Unavailable, WorkerFailed

__all__ = ["Outcome", "run"]

_LOOK = 0.25  # seconds
_MOST_BUSY = 0.15
_SETTLE = 0.05  # seconds for threads that spin to fall asleep before another contender's turn


@dataclass(frozen=True)
class Outcome:
    """What a scenario showed."""

    rounds: Mapping[str, Sequence[Figures]]
    """Of each contender, the figures of each round; round i of all ran one after the other."""
    notes: list[str]
    seconds: float
    failed: bool
    """Whether anything went wrong, other than a bar that was missed."""


def run(scenario: Scenario, models: Path, form: Form) -> Outcome:
    """Returns what was measured; who cannot take part is told of in the notes."""
    began = time.monotonic()
    rounds: dict[str, list[Figures]] = {}
    notes: list[str] = []
    failed = False
    others = machine.busy(_LOOK)
    if others > _MOST_BUSY:
        notes.append(f"Others used {others:.0%} of the cores just before: the figures are noisy.")
    with ExitStack() as stack:
        place = Place(models, form, stack, notes)
        try:
            contenders = dict(scenario.contenders(place))
            place.wait()
        except (Unavailable, WorkerFailed) as reason:
            contenders = {}
            failed = isinstance(reason, WorkerFailed)
            notes.append(f"This {_gone(reason)}")
        names = list(contenders)
        rounds = {name: [] for name in names}
        warming = 1 if scenario.warms else 0
        for number in range(warming + scenario.rounds_in(form)):
            first = number % max(1, len(names))  # nobody always comes after the same one
            for name in names[first:] + names[:first]:
                time.sleep(_SETTLE)
                try:
                    figures = contenders[name]()
                except (Unavailable, WorkerFailed) as reason:
                    notes.append(f"{name} {_gone(reason)}")
                    failed = failed or isinstance(reason, WorkerFailed)
                    names.remove(name)
                    del rounds[name]
                    continue
                if number >= warming:
                    rounds[name].append(figures)
    return Outcome(rounds, notes, time.monotonic() - began, failed)


def _gone(reason: Unavailable | WorkerFailed) -> str:
    if isinstance(reason, Unavailable):
        return f"cannot take part: {reason}."
    return "failed: " + str(reason).strip().rpartition("\n")[2]
