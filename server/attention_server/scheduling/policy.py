"""What to run next, and how: decided from what runs cost so far."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace

from attention_server.domain.request import Manner
from attention_server.scheduling.costs import Curve, Ladder, most_on, rung_of
from attention_server.scheduling.load import Load, companions
from attention_server.scheduling.ways import Way, Ways

__all__ = ["Plan", "Policy", "Run"]

_BUDGET = 8192
"""Most work of a batch, in tokens, padding included."""


@dataclass(frozen=True)
class Plan:
    """Which of the waiting requests of one key to run, the oldest first, and how."""

    chosen: Sequence[int]
    manner: Manner
    way: Way = Way.ALONE
    is_try: bool = False
    """Whether it is too little known to be judged by."""


@dataclass(eq=False)
class Run:
    """What is being computed."""

    loads: Sequence[Load]
    plan: Plan
    depth: int
    """Requests that waited or were being computed when it began, its own included."""
    abreast: int
    """Most runs that there were at the same time, itself included."""

    @property
    def manner(self) -> Manner:
        """How it is computed."""
        return self.plan.manner

    @property
    def has_the_machine(self) -> bool:
        """Whether nothing may run beside it."""
        return self.manner == _BATCH_ON_ALL


_ALONE_ON_ALL = Manner(together=False, every_core=True)
_ALONE_ON_ONE = Manner(together=False, every_core=False)
_BATCH_ON_ALL = Manner(together=True, every_core=True)
_BATCH_ON_ONE = Manner(together=True, every_core=False)


class _Costs:
    """What is known of one kind of request."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self.turn = 0
        self.alone = Curve()
        self._ladders: dict[tuple[int, Manner], Ladder] = {}
        self._ways: defaultdict[int, Ways] = defaultdict(lambda: Ways(*ways))

    def ways_at(self, depth: int) -> Ways:
        """Returns the ways while about so many requests are there: fewer than 8, 32, 128..."""
        return self._ways[rung_of(2 * depth) // 2]

    def ladder(self, head: Load, manner: Manner) -> Ladder:
        """Returns what batches cost whose oldest request is about as large."""
        key = int(head.work).bit_length(), manner
        ladder = self._ladders.get(key)
        if ladder is None:
            ladder = self._ladders[key] = Ladder(self.alone)
        return ladder


class Policy:
    """Decides what is run next. Not for several threads at a time; knows no clock.

    Args:
        threads: Runs at a time.
        batching: Whether requests may be computed together.
    """

    def __init__(self, *, threads: int, batching: bool) -> None:
        self._threads = threads
        self._batching = batching
        self._costs: defaultdict[Hashable, _Costs] = defaultdict(
            lambda: _Costs([Way.ALONE, Way.ONE_BATCH] if threads == 1 else list(Way))
        )

    def choose(self, alike: Sequence[Load], waiting: int, running: Collection[Run]) -> Plan | None:
        """Returns what to run now; None for nothing before one of those that run is done.

        Args:
            alike: The oldest that waits, and others of its key by age.
            waiting: How many wait in all.
            running: Fewer than there are threads.
        """
        if any(run.has_the_machine for run in running):
            return None
        head = alike[0]
        alone_on_all = self._threads == 1 or (waiting == 1 and not running)
        alone = Plan((0,), _ALONE_ON_ALL if alone_on_all else _ALONE_ON_ONE)
        if not self._batching or head.key is None or head.work > _BUDGET:
            return alone
        costs = self._costs[head.kind]
        depth = _depth(waiting, running)
        way = costs.ways_at(depth).take() if costs.alone and depth > 1 else Way.ALONE
        if way is Way.ONE_BATCH and not running:
            batch = self._batch(costs, alike, len(alike), _BATCH_ON_ALL)
            return batch or Plan((0,), _ALONE_ON_ALL, way)
        if way is Way.ONE_BATCH and self._may_wait_for(running, alike):
            return None
        if way is Way.BATCHES:
            # Each thread its share, and some are left: else threads would wait for callers.
            most = depth // self._threads - 1
            return self._batch(costs, alike, most, _BATCH_ON_ONE) or replace(alone, way=way)
        return alone

    def begin(
        self, plan: Plan, loads: Sequence[Load], waiting: int, running: Collection[Run]
    ) -> Run:
        """Returns the run of a plan that was chosen beside these runs."""
        abreast = len(running) + 1
        for run in running:
            run.abreast = max(run.abreast, abreast)
        return Run(loads, plan, _depth(waiting, running), abreast)

    def _batch(
        self, costs: _Costs, alike: Sequence[Load], most: int, manner: Manner
    ) -> Plan | None:
        """Returns the batch that pays most, or is worth a try; None for none."""
        way = Way.ONE_BATCH if manner.every_core else Way.BATCHES
        most = min(most, len(alike))
        if most < 2:
            return None
        ladder = costs.ladder(alike[0], manner)
        rung = ladder.to_try(most, costs.turn)
        if rung:
            chosen = companions(alike, most=min(most, most_on(rung)), budget=_BUDGET)
            if rung_of(len(chosen)) == rung:
                return Plan(chosen, manner, way, is_try=True)
        rung, _ = ladder.best(most)
        if not rung:
            return None
        chosen = companions(alike, most=min(most, most_on(rung)), budget=_BUDGET)
        rung, _ = ladder.best(len(chosen))
        return Plan(chosen[: most_on(rung)], manner, way) if rung else None

    def _may_wait_for(self, running: Collection[Run], alike: Sequence[Load]) -> bool:
        """Returns whether what runs is soon done, as seen by those that would wait for it."""
        return max(map(self._longest, running)) <= 2 * sum(
            self._costs[load.kind].alone.seconds(load.work) for load in alike
        )

    def _longest(self, run: Run) -> float:
        alone = self._costs[run.loads[0].kind].alone
        return max(alone.seconds(load.work) for load in run.loads) if alone else math.inf

    def learn(self, run: Run, seconds: float) -> None:
        """Takes what a run took."""
        head, share = run.loads[0], seconds / run.abreast
        costs = self._costs[head.kind]
        costs.turn += 1
        if run.manner.together:
            work = sum(load.work for load in run.loads)
            ladder = costs.ladder(head, run.manner)
            ladder.learn(share, work, len(run.loads), costs.turn)
        elif run.abreast > 1 or self._threads == 1:
            costs.alone.learn(share, head.work)
        if costs.alone and run.depth > 1 and not run.plan.is_try:
            one_by_one = sum(costs.alone.seconds(load.work) for load in run.loads)
            costs.ways_at(run.depth).learn(run.plan.way, share, one_by_one)


def _depth(waiting: int, running: Collection[Run]) -> int:
    """Returns how many requests there are, computed or waiting."""
    return waiting + sum(len(run.loads) for run in running)
