"""One request on its way through the scheduler."""

from __future__ import annotations

import time
from concurrent.futures import Future

from attention_server.domain.errors import Abandoned, DeadlinePassed
from attention_server.domain.request import AttendRequest, AttendResult

__all__ = ["Job"]


class Job:
    """A request, its deadline and its answer to come.

    Args:
        request: What to compute.
        deadline: Time of time.monotonic, seconds, after which nobody waits; None for none.
        arrived: Time of time.monotonic, seconds, at which its message came; now if absent.
    """

    def __init__(
        self,
        request: AttendRequest,
        *,
        deadline: float | None = None,
        arrived: float | None = None,
    ) -> None:
        self.request = request
        self.arrived = time.monotonic() if arrived is None else arrived
        self.answer: Future[AttendResult] = Future()
        self._deadline = deadline
        self._abandoned = False

    def abandon(self) -> None:
        """Drops the request: at once while it waits, at the next checkpoint once it runs."""
        self._abandoned = True
        self.answer.cancel()

    def checkpoint(self) -> None:
        """Raises DeadlinePassed or Abandoned once the answer is not wanted any more."""
        if self._abandoned:
            raise Abandoned
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlinePassed

    def begin(self) -> bool:
        """Returns whether the job is to be computed; answers it where nobody waits any more."""
        if not self.answer.set_running_or_notify_cancel():
            return False
        try:
            self.checkpoint()
        except (Abandoned, DeadlinePassed) as error:
            self.answer.set_exception(error)
            return False
        return True
