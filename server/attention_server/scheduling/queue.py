"""What waits: the oldest is served first, bounded in count."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from attention_server.domain.errors import QueueFull, ShuttingDown
from attention_server.scheduling.budget import RETRY_AFTER_SECONDS
from attention_server.scheduling.job import Job
from attention_server.scheduling.load import Load
from attention_server.scheduling.policy import Policy, Run

__all__ = ["JobQueue", "Taken"]

_LOOK_AHEAD = 64
"""Most jobs among which a batch is chosen: however many wait, choosing takes no longer."""


class Taken(NamedTuple):
    """Jobs to compute next, and how."""

    jobs: list[Job]
    run: Run


class JobQueue:
    """Hands jobs from many callers to a few threads.

    Args:
        max_requests: Jobs that may wait.
        policy: Decides which of them are computed next, and how; it is this queue's alone.
    """

    def __init__(self, *, max_requests: int, policy: Policy) -> None:
        self._max_requests = max_requests
        self._policy = policy
        self._jobs: OrderedDict[Job, Load] = OrderedDict()
        self._alike: dict[Hashable, OrderedDict[Job, Load]] = {}
        """The same jobs by the key of their load."""
        self._running: set[Run] = set()
        self._to_come = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keeps a place for a job that is still being read, so that reading is bounded too.

        Raises:
            QueueFull: Too much is waiting or being read.
            ShuttingDown: The queue is closed.
        """
        with self._changed:
            self._check_room()
            self._to_come += 1
        try:
            yield
        finally:
            with self._changed:
                self._to_come -= 1

    def put(self, job: Job) -> None:
        """Lets the job wait. A job whose answer is cancelled leaves by itself.

        Raises:
            QueueFull: Too much is waiting.
            ShuttingDown: The queue is closed.
        """
        load = Load.of(job.request)
        with self._changed:
            self._check_room()
            self._jobs[job] = load
            self._alike.setdefault(load.key, OrderedDict())[job] = load
            self._wake()
        # The answer belongs to the job: were it to hold the job too, both would stay in memory
        # until the garbage collector finds the circle.
        waiting = weakref.ref(job)
        job.answer.add_done_callback(lambda _: self._forget(waiting()))

    def check_room(self) -> None:
        """Refuses what ``put`` would refuse.

        Raises:
            QueueFull: Too much is waiting.
            ShuttingDown: The queue is closed.
        """
        with self._changed:
            self._check_room()

    def take(self) -> Taken | None:
        """Returns what to compute next, waiting for it; None once closed.

        Whoever takes says when it is done.
        """
        with self._changed:
            while not self._closed:
                taken = self._chosen() if self._jobs else None
                if taken is not None:
                    self._wake()  # for what is left
                    return taken
                self._changed.wait()
            return None

    def done(self, run: Run, seconds: float | None) -> None:
        """Ends a run that was taken.

        Args:
            run: As it was taken.
            seconds: What it took; None where that tells nothing.
        """
        with self._changed:
            self._running.remove(run)
            if seconds is not None:
                self._policy.learn(run, seconds)

    def close(self) -> list[Job]:
        """Refuses jobs from now on and returns those that were waiting."""
        with self._changed:
            self._closed = True
            waiting = list(self._jobs)
            self._jobs.clear()
            self._alike.clear()
            self._changed.notify_all()
            return waiting

    def _check_room(self) -> None:
        if self._closed:
            raise ShuttingDown
        if len(self._jobs) + self._to_come >= self._max_requests:
            raise QueueFull(RETRY_AFTER_SECONDS)

    def _wake(self) -> None:
        """Wakes a thread where there is something that it may take."""
        if self._jobs and not any(run.has_the_machine for run in self._running):
            self._changed.notify()

    def _chosen(self) -> Taken | None:
        """Takes what the policy chooses; None where it would rather wait for what runs."""
        oldest = next(iter(self._jobs.values()))
        alike = self._alike[oldest.key]
        jobs = list(islice(alike, 1 if oldest.key is None else _LOOK_AHEAD))
        plan = self._policy.choose([alike[job] for job in jobs], len(self._jobs), self._running)
        if plan is None:
            return None
        chosen = [jobs[i] for i in plan.chosen]
        run = self._policy.begin(
            plan, [alike[job] for job in chosen], len(self._jobs), self._running
        )
        self._running.add(run)
        for job in chosen:
            self._remove(job)
        return Taken(chosen, run)

    def _remove(self, job: Job) -> None:
        load = self._jobs.pop(job, None)
        if load is None:
            return
        alike = self._alike[load.key]
        del alike[job]
        if not alike:
            del self._alike[load.key]

    def _forget(self, job: Job | None) -> None:
        with self._changed:
            if job is not None:
                self._remove(job)

    @property
    def waiting_requests(self) -> int:
        """How many wait or are being read."""
        with self._changed:
            return len(self._jobs) + self._to_come
