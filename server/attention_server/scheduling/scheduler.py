"""A few threads that compute what waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from attention_server.domain.errors import RequestError, ShuttingDown
from attention_server.domain.request import AttendRequest, AttendResult, Execution, Manner, Task
from attention_server.scheduling.budget import Budget
from attention_server.scheduling.job import Job
from attention_server.scheduling.policy import Policy
from attention_server.scheduling.queue import JobQueue

__all__ = ["RequestEngine", "Scheduler"]


_ALONE_ON_ONE = Manner(together=False, every_core=False)


class RequestEngine(Protocol):
    """What computes requests."""

    def is_brief(self, request: AttendRequest) -> bool:
        """Returns whether computing takes hardly longer than having another thread do it."""

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | Exception]:
        """Yields the answer of each task, in order, as it is done, or why it has none."""


class Scheduler:
    """Takes requests, answers each exactly once: with a result, an error or a cancellation.

    Args:
        engine: Computes.
        threads: Runs at the same time.
        batching: Whether requests may be computed together, where that is faster.
        max_waiting_requests: Requests that may wait.
        max_waiting_bytes: Bytes of requests and answers that calls may hold together.
        at_once: Whether brief requests are never handed to a thread: where cores are few.
    """

    def __init__(
        self,
        engine: RequestEngine,
        *,
        threads: int,
        batching: bool,
        max_waiting_requests: int,
        max_waiting_bytes: int,
        at_once: bool = False,
    ) -> None:
        self._engine = engine
        self._at_once = at_once
        self._queue = JobQueue(
            max_requests=max_waiting_requests, policy=Policy(threads=threads, batching=batching)
        )
        self.budget = Budget(max_waiting_bytes)
        """What calls hold in memory; for the event loop that takes them."""
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def reserved(self) -> AbstractContextManager[None]:
        """Stands around reading a request; raises QueueFull and ShuttingDown as ``submit``."""
        return self._queue.reserved()

    def submit(self, job: Job) -> None:
        """Lets the job wait for a thread; its ``answer`` is set when it is computed.

        A brief one is computed at once where it is the only call, or cores are few: another thread
        must be woken, and then both want Python's lock. 16 callers of 4 to 16 tokens, 384 wide, on
        2 cores with the SDK, twice in turns: 1,472 and 1,062 requests a second in place of 1,060
        and 827.

        Raises:
            QueueFull: Too much is waiting.
            ShuttingDown: The scheduler is closed.
        """
        at_once = self._at_once or self.budget.calls <= 1
        if at_once and self._engine.is_brief(job.request):
            self._queue.check_room()
            self._compute([job], _ALONE_ON_ONE)
        else:
            self._queue.put(job)

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait for a thread or are being read, and the bytes that all calls hold."""
        return self._queue.waiting_requests, self.budget.held_bytes

    def close(self) -> None:
        """Refuses what waits, lets what runs finish, and ends the threads."""
        for job in self._queue.close():
            if job.answer.set_running_or_notify_cancel():
                job.answer.set_exception(ShuttingDown())
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while taken := self._queue.take():
            self._queue.done(taken.run, self._compute(taken.jobs, taken.run.manner))
            del taken  # an idle thread holds no request

    def _compute(self, taken: Sequence[Job], manner: Manner) -> float | None:
        """Returns what computing took, seconds; None where not all of it was computed."""
        started = time.monotonic()
        jobs = [job for job in taken if job.begin()]
        if not jobs:
            return None
        if manner.together and len(jobs) == 1:
            manner = manner._replace(together=False)
        computed = 0
        unanswered = iter(jobs)
        try:
            tasks = [Task(job.request, job.checkpoint) for job in jobs]
            for answer in self._engine.run(tasks, manner):
                job = next(unanswered)
                if isinstance(answer, RequestError):
                    # Where it was raised is no news, and would keep the request in memory.
                    job.answer.set_exception(answer.with_traceback(None))
                elif isinstance(answer, Exception):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(_waited(answer, started - job.arrived))
                    computed += 1
        except Exception as error:  # noqa: BLE001 - a fault is for the callers; the thread lives on
            _fail(unanswered, error)
        else:
            _fail(unanswered, RuntimeError("the engine ended without an answer"))
        return time.monotonic() - started if computed == len(taken) else None


def _fail(jobs: Iterable[Job], error: Exception) -> None:
    for job in jobs:
        job.answer.set_exception(error)


def _waited(answer: AttendResult, seconds: float) -> AttendResult:
    queue_us = max(0, int(seconds * 1e6))
    # Not dataclasses.replace: it goes through the fields one by one, for every request.
    execution = Execution(**{**vars(answer.execution), "queue_us": queue_us})
    return AttendResult(**{**vars(answer), "execution": execution})
