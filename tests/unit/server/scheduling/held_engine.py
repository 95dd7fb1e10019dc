"""An engine that computes when it is told to: what waits can then be looked at."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from attention_server.domain.errors import RequestError
from attention_server.domain.request import AttendRequest, AttendResult, Execution, Manner, Task

PATIENCE_SECONDS = 60
"""Longer than any of this takes: a test that waits in vain fails instead of hanging."""


class HeldEngine:
    """Begins each task that it is given and holds it until ``let_go``."""

    def __init__(self) -> None:
        self.computed: list[AttendRequest] = []
        """Requests that were begun, in order."""
        self._begun: queue.Queue[AttendRequest] = queue.Queue()
        self._let_go = threading.Semaphore(0)

    def is_brief(self, request: AttendRequest) -> bool:
        """Returns False: threads compute all of it."""
        return False

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | RequestError]:
        """Yields an answer for each task that is still wanted once it is let go."""
        for task in tasks:
            self.computed.append(task.request)
            self._begun.put(task.request)
            assert self._let_go.acquire(timeout=PATIENCE_SECONDS)
            try:
                task.checkpoint()
                yield answer_to(task.request)
            except RequestError as error:
                yield error

    def wait_until_begun(self) -> AttendRequest:
        """Returns the next request that was begun."""
        return self._begun.get(timeout=PATIENCE_SECONDS)

    def let_go(self, tasks: int = 1) -> None:
        """Lets tasks be computed, those to come included."""
        self._let_go.release(tasks)


def answer_to(request: AttendRequest) -> AttendResult:
    """Returns an answer that tells which request it belongs to."""
    execution = Execution(provider="none", path="none", compute_us=0)
    return AttendResult(fully_masked_rows=0, execution=execution, output=request.query)
