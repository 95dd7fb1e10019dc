"""What waits: first come, first served, bounded in count."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from attention_server.domain.errors import QueueFull, ShuttingDown
from attention_server.scheduling.budget import RETRY_AFTER_SECONDS
from attention_server.scheduling.job import Job

__all__ = ["JobQueue"]


class JobQueue:
    """Hands jobs from many callers to a few threads."""

    def __init__(self, *, max_requests: int) -> None:
        self._max_requests = max_requests
        self._jobs: OrderedDict[Job, None] = OrderedDict()
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
        with self._changed:
            self._check_room()
            self._jobs[job] = None
            self._changed.notify()
        # The answer belongs to the job: were it to hold the job too, both would stay in memory
        # until the garbage collector finds the circle.
        waiting = weakref.ref(job)
        job.answer.add_done_callback(lambda _: self._forget(waiting()))

    def take(self) -> list[Job]:
        """Returns the jobs to compute together next, waiting for one; empty once closed.

        Here requests will be batched; today each is computed alone.
        """
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            job, _ = self._jobs.popitem(last=False)
            return [job]

    def close(self) -> list[Job]:
        """Refuses jobs from now on and returns those that were waiting."""
        with self._changed:
            self._closed = True
            waiting = list(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()
            return waiting

    def _check_room(self) -> None:
        if self._closed:
            raise ShuttingDown
        if len(self._jobs) + self._to_come >= self._max_requests:
            raise QueueFull(RETRY_AFTER_SECONDS)

    def _forget(self, job: Job | None) -> None:
        with self._changed:
            if job is not None:
                self._jobs.pop(job, None)

    @property
    def waiting_requests(self) -> int:
        """How many wait or are being read."""
        with self._changed:
            return len(self._jobs) + self._to_come
