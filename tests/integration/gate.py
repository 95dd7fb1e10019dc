"""A gate before the engine: requests wait there until a test lets them through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from attention_server.domain.errors import QueueFull
from attention_server.domain.request import AttendResult, Manner, Task
from attention_server.engine.engine import Engine
from attention_server.scheduling.job import Job
from attention_server.scheduling.scheduler import Scheduler

_PATIENCE_SECONDS = 30


class Gate:
    """Stands between the scheduler and the engine of every server in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached: list[int] = []
        """query_len of each request that came to the engine: by it tests tell them apart."""
        self.jobs: list[Job] = []
        """Those that the scheduler took, in order."""
        self._changed = threading.Condition()
        self._refused = 0
        self._is_open = threading.Event()
        self._abandoned = 0
        run, reserved, submit = Engine.run, Scheduler.reserved, Scheduler.submit
        abandon = Job.abandon

        def gated_run(
            engine: Engine, tasks: Sequence[Task], manner: Manner
        ) -> Iterator[AttendResult | Exception]:
            with self._changed:
                self.reached += [task.request.query_len for task in tasks]
                self._changed.notify_all()
            assert self._is_open.wait(_PATIENCE_SECONDS), "nobody opened the gate"
            yield from run(engine, tasks, manner)

        @contextmanager
        def watched_reserved(scheduler: Scheduler) -> Iterator[None]:
            with ExitStack() as stack:
                try:
                    stack.enter_context(reserved(scheduler))
                except QueueFull:
                    with self._changed:
                        self._refused += 1
                        self._changed.notify_all()
                    raise
                yield

        def watched_submit(scheduler: Scheduler, job: Job) -> None:
            submit(scheduler, job)
            with self._changed:
                self.jobs.append(job)
                self._changed.notify_all()

        def watched_abandon(job: Job) -> None:
            abandon(job)
            with self._changed:
                self._abandoned += 1
                self._changed.notify_all()

        monkeypatch.setattr(Engine, "run", gated_run)
        # The gate would hold the event loop that computes what is brief at once.
        monkeypatch.setattr(Engine, "is_brief", lambda *_: False)
        monkeypatch.setattr(Scheduler, "reserved", watched_reserved)
        monkeypatch.setattr(Job, "abandon", watched_abandon)
        monkeypatch.setattr(Scheduler, "submit", watched_submit)

    def open(self) -> None:
        """Lets everything through, from now on."""
        self._is_open.set()

    def wait_until_reached(self, count: int) -> None:
        """Returns once this many requests came to the engine."""
        self._wait(lambda: len(self.reached) >= count)

    def wait_until_taken(self, count: int) -> None:
        """Returns once the scheduler took this many requests, those that reached it included."""
        self._wait(lambda: len(self.jobs) >= count)

    def wait_until_refused(self, count: int) -> None:
        """Returns once this many requests found the queue full."""
        self._wait(lambda: self._refused >= count)

    def wait_until_abandoned(self, count: int) -> None:
        """Returns once the server noticed that this many callers left."""
        self._wait(lambda: self._abandoned >= count)

    def wait_until_settled(self, job: Job) -> None:
        """Returns once the scheduler has the job no more."""
        settled = threading.Event()
        job.answer.add_done_callback(lambda _: settled.set())
        assert settled.wait(_PATIENCE_SECONDS), "the job is still waiting"

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, _PATIENCE_SECONDS)
