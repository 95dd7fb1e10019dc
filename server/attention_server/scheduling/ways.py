"""Three ways to compute what waits, and which of them costs least."""

from __future__ import annotations

import enum

from attention_server.scheduling.costs import Mean

__all__ = ["Way", "Ways"]

_STREAK = 6
"""Runs of a trial."""

_FIRST_PATIENCE, _LAST_PATIENCE = 64, 16384
"""Runs until a way that lost is tried again: eight times as many each time."""

_GIVEN_UP = 1.05
"""Of what requests cost alone: batches that cost more are given up at once."""


class Way(enum.Enum):
    """How requests are computed while several wait."""

    ALONE = enum.auto()
    """Each alone, as many at a time as there are threads."""
    BATCHES = enum.auto()
    """In batches, as many at a time as there are threads."""
    ONE_BATCH = enum.auto()
    """In batches, one at a time: it has all cores, or the accelerator, to itself."""


_HANDICAP = {Way.ALONE: 1.0, Way.BATCHES: 1.2, Way.ONE_BATCH: 1.2}
"""What waits for a batch, or for its turn, waits longer: that must pay for more than itself."""


class Ways:
    """Takes the way that costs least, and tries each of the others now and then."""

    def __init__(self, *ways: Way) -> None:
        self._costs = {way: Mean() for way in ways}
        self._patience = dict.fromkeys(ways, _FIRST_PATIENCE)
        self._due = dict.fromkeys(ways, _FIRST_PATIENCE)
        self._turn = 0
        self._best = Way.ALONE
        self._trial: Way | None = None
        self._left = 0

    def take(self) -> Way:
        """Returns the way for the next run."""
        if self._trial is None:
            for way, due in self._due.items():
                if way is not self._best and due <= self._turn:
                    self._trial, self._left = way, _STREAK
                    return way
        return self._trial or self._best

    def learn(self, way: Way, seconds: float, alone: float) -> None:
        """Takes a run into account.

        Args:
            way: How it was run.
            seconds: What it took.
            alone: What its requests would have taken alone.
        """
        self._turn += 1
        self._costs[way].learn(seconds, alone)
        if way is self._trial:
            self._left -= 1
            if not self._left:
                self._judge(way)
        elif way is self._best and self._cost(way) > _GIVEN_UP and way is not Way.ALONE:
            self._best = Way.ALONE

    def _judge(self, way: Way) -> None:
        self._trial = None
        if self._cost(way) < self._cost(self._best):
            self._best = way
            self._patience[way] = _FIRST_PATIENCE
        else:
            self._patience[way] = min(8 * self._patience[way], _LAST_PATIENCE)
        self._due[way] = self._turn + self._patience[way]

    def _cost(self, way: Way) -> float:
        cost = self._costs[way]
        return 1.0 if way is Way.ALONE else _HANDICAP[way] * cost.seconds / cost.work
