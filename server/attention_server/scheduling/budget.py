"""What all calls together hold in memory: requests from arrival, answers from admission."""

from __future__ import annotations

from attention_server.domain.errors import QueueFull

__all__ = ["RETRY_AFTER_SECONDS", "Budget"]

RETRY_AFTER_SECONDS = 0.1
"""When to come back to a server that is full."""


class Budget:
    """A number of bytes, shared by the calls in flight. Belongs to one event loop.

    An answer is in memory until its caller has read it, and gRPC keeps a request until its call is
    over: so a call gives its bytes back when it is over, and not when the engine is done.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[object, int] = {}
        self._total = 0

    def take(self, call: object, size: int) -> None:
        """Lets a call hold as many bytes more.

        Raises:
            QueueFull: Not as many are left. A call that is alone is never refused.
        """
        own = self._held.get(call, 0)
        if self._total > own and self._total + size > self._max_bytes:
            raise QueueFull(RETRY_AFTER_SECONDS)
        self._held[call] = own + size
        self._total += size

    def give_back(self, call: object) -> int:
        """Takes all bytes from a call, which may hold none, and returns how many they were."""
        size = self._held.pop(call, 0)
        self._total -= size
        return size

    @property
    def calls(self) -> int:
        """How many hold any."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """What all calls hold."""
        return self._total
