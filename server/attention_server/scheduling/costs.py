"""What runs cost, learned from those that were."""

from __future__ import annotations

import math
from bisect import bisect_left

__all__ = ["Curve", "Ladder", "Mean", "most_on", "rung_of"]

_MEMORY = 16
"""Runs that a mean remembers, more or less."""

_OUTLIER = 4.0
"""Times the mean; a run that takes longer was held up by something else, and counts as this."""

_WORTH = 0.95
"""A larger batch must cost at most this part of a smaller one, each request of it."""

_FIRST_PATIENCE, _LAST_PATIENCE = 8, 1024
"""Runs until what did not pay is tried again: twice as many each time."""


class Mean:
    """Means of what was lately seen of runs: seconds, work, requests."""

    def __init__(self) -> None:
        self.seconds = self.work = self.requests = 0.0
        self._count = 0

    def learn(self, seconds: float, work: float, requests: int = 1) -> None:
        """Takes one more run into the means."""
        if self._count:
            seconds = min(seconds, _OUTLIER * self.seconds)
        self._count = min(self._count + 1, _MEMORY)
        self.seconds += (seconds - self.seconds) / self._count
        self.work += (work - self.work) / self._count
        self.requests += (requests - self.requests) / self._count


class Curve:
    """Seconds of a run by its work: lines between the means of half octaves."""

    def __init__(self) -> None:
        self._means: dict[int, Mean] = {}
        self._points: list[tuple[float, float]] = []

    def __bool__(self) -> bool:
        return bool(self._means)

    def learn(self, seconds: float, work: float) -> None:
        """Takes one more run into the curve."""
        self._means.setdefault(int(2 * math.log2(work)), Mean()).learn(seconds, work)
        self._points = sorted((mean.work, mean.seconds) for mean in self._means.values())

    def seconds(self, work: float) -> float:
        """Returns what is to be expected; the curve knows at least one run."""
        points = self._points
        right = bisect_left(points, (work, 0.0))
        if right == 0:
            return points[0][1]
        last_work, last_seconds = points[right - 1]
        if right == len(points):
            return last_seconds * work / last_work
        next_work, next_seconds = points[right]
        part = (work - last_work) / (next_work - last_work)
        return last_seconds + part * (next_seconds - last_seconds)


class _Rung:
    """Batches of 2 ** n requests and more, but fewer than twice as many."""

    def __init__(self) -> None:
        self._mean = Mean()
        self._patience = _FIRST_PATIENCE
        self.due = 0
        """The turn from which it may be tried though it did not pay."""

    def learn(self, seconds: float, work: float, requests: int) -> None:
        self._mean.learn(seconds, work, requests)

    def put_off(self, turn: int, *, pays: bool) -> None:
        self._patience = _FIRST_PATIENCE if pays else min(2 * self._patience, _LAST_PATIENCE)
        self.due = turn + self._patience

    def cost(self, alone: Curve) -> float:
        """Returns its time as part of that of the same requests one by one."""
        requests = self._mean.requests
        return self._mean.seconds / (requests * alone.seconds(self._mean.work / requests))


class Ladder:
    """What batches cost by the number of their requests: climbed as long as that pays."""

    def __init__(self, alone: Curve) -> None:
        self._alone = alone
        self._rungs: dict[int, _Rung] = {}

    def learn(self, seconds: float, work: float, requests: int, turn: int) -> None:
        """Takes one more batch into account."""
        number = rung_of(requests)
        rung = self._rungs.setdefault(number, _Rung())
        rung.learn(seconds, work, requests)
        rung.put_off(turn, pays=number == self.best(most_on(max(self._rungs)))[0])

    def best(self, most: int) -> tuple[int, float]:
        """Returns the rung that costs least, and its cost; 0 and 1 where nothing pays.

        Where a larger batch is hardly better the smaller one wins: it is done sooner.

        Args:
            most: Requests that there are.
        """
        best, least = 0, 1.0
        for number in range(1, rung_of(most) + 1):
            rung = self._rungs.get(number)
            if rung is not None and (cost := rung.cost(self._alone)) < _WORTH * least:
                best, least = number, cost
        return best, least

    def to_try(self, most: int, turn: int) -> int:
        """Returns a rung of which too little is known; 0 for none."""
        _, least = self.best(most)
        below = least
        for number in range(1, rung_of(most) + 1):
            rung = self._rungs.get(number)
            if below <= least and (rung is None or rung.due <= turn):
                return number
            if rung is None:
                break
            below = rung.cost(self._alone)
        return 0


def rung_of(requests: int) -> int:
    """Returns where a batch of so many requests stands on a ladder; 0 is a request alone."""
    return requests.bit_length() - 1


def most_on(rung: int) -> int:
    """Returns the most requests of a batch on that rung."""
    return (2 << rung) - 1
