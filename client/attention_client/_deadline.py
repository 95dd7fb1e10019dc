"""When a call must be answered."""

from __future__ import annotations

import time
from dataclasses import dataclass

from attention_client.errors import DeadlineExceededError

__all__ = ["Deadline"]


@dataclass(frozen=True)
class Deadline:
    """The time of one call, all that is asked for it included."""

    address: str
    """Who is asked."""
    timeout: float
    """Seconds, all in all."""
    started: float
    """Time of time.monotonic() when it began."""

    def left(self) -> float:
        """Returns the seconds until it is over."""
        return self.started + self.timeout - time.monotonic()

    def remaining(self) -> float:
        """Returns the seconds that are left.

        Raises:
            DeadlineExceededError: None.
        """
        left = self.left()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, code: str | None = None) -> DeadlineExceededError:
        """Returns the error of a call that was not answered in time."""
        return DeadlineExceededError(
            f"no answer from {self.address} within {self.timeout:g} s", code=code
        )
