"""A few threads that compute what waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from attention_server.domain.errors import RequestError, ShuttingDown
from attention_server.domain.request import AttendResult, Task
from attention_server.scheduling.budget import Budget
from attention_server.scheduling.job import Job
from attention_server.scheduling.queue import JobQueue

__all__ = ["RequestEngine", "Scheduler"]


class RequestEngine(Protocol):
    """What computes requests."""

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        """Yields the answer of each task, in order, as it is done, or why it has none."""


class Scheduler:
    """Takes requests, answers each exactly once: with a result, an error or a cancellation.

    Args:
        engine: Computes.
        threads: Requests computed at the same time.
        max_waiting_requests: Requests that may wait.
        max_waiting_bytes: Bytes of requests and answers that calls may hold together.
    """

    def __init__(
        self,
        engine: RequestEngine,
        *,
        threads: int,
        max_waiting_requests: int,
        max_waiting_bytes: int,
    ) -> None:
        self._engine = engine
        self._queue = JobQueue(max_requests=max_waiting_requests)
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

        Raises:
            QueueFull: Too much is waiting.
            ShuttingDown: The scheduler is closed.
        """
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
            jobs = [job for job in taken if job.begin()]
            if jobs:
                self._compute(jobs)
            del taken, jobs  # an idle thread holds no request

    def _compute(self, jobs: list[Job]) -> None:
        started = time.monotonic()
        unanswered = iter(jobs)
        try:
            tasks = [Task(job.request, job.checkpoint) for job in jobs]
            for answer in self._engine.run(tasks):
                job = next(unanswered)
                if isinstance(answer, RequestError):
                    # Where it was raised is no news, and would keep the request in memory.
                    job.answer.set_exception(answer.with_traceback(None))
                else:
                    job.answer.set_result(_waited(answer, started - job.arrived))
        except Exception as error:  # noqa: BLE001 - a fault is for the callers; the thread lives on
            _fail(unanswered, error)
        else:
            _fail(unanswered, RuntimeError("the engine ended without an answer"))


def _fail(jobs: Iterable[Job], error: Exception) -> None:
    for job in jobs:
        job.answer.set_exception(error)


def _waited(answer: AttendResult, seconds: float) -> AttendResult:
    queue_us = max(0, int(seconds * 1e6))
    return replace(answer, execution=replace(answer.execution, queue_us=queue_us))
