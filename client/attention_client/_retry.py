"""When to try again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from attention_client.errors import AttentionError, ServerUnavailableError

__all__ = ["RetryPolicy"]


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after how long, a call that found no server is sent again.

    Only ``ServerUnavailableError`` is retried, and only while the call's timeout lasts. The n-th
    pause is initial_backoff_seconds * multiplier^(n-1), max_backoff_seconds at most; a random
    half of it is taken off, so that callers do not all come back at once. What a server asks for
    (google.rpc.RetryInfo) comes on top.

    Raises:
        ValueError: Numbers that make no sense.
    """

    max_attempts: int = 5
    """Most times that a message is sent; 1 for no retries."""
    initial_backoff_seconds: float = 0.1
    """First pause."""
    max_backoff_seconds: float = 5.0
    """Longest pause."""
    multiplier: float = 2.0
    """Growth from one pause to the next."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be 1 or more, not {self.max_attempts}")
        if not 0 <= self.initial_backoff_seconds <= self.max_backoff_seconds:
            raise ValueError("initial_backoff_seconds must be 0 to max_backoff_seconds")
        if not self.multiplier >= 1:
            raise ValueError(f"multiplier must be 1 or more, not {self.multiplier}")

    def pause_after(self, error: AttentionError, attempt: int) -> float | None:
        """Returns the seconds to wait after a failed attempt, the first is 1; None to give up."""
        if not isinstance(error, ServerUnavailableError) or attempt >= self.max_attempts:
            return None
        backoff = self.initial_backoff_seconds
        for _ in range(attempt - 1):
            backoff = min(backoff * self.multiplier, self.max_backoff_seconds)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        return (error.retry_after or 0.0) + backoff * jitter
