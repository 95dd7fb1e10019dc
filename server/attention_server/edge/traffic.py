"""What is in flight, and the end of it."""

from __future__ import annotations

import asyncio

from attention_server.domain.errors import ShuttingDown

__all__ = ["Traffic"]


class Traffic:
    """Counts the calls in flight; refuses new ones once draining. Belongs to one event loop."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Counts a call.

        Raises:
            ShuttingDown: The server is draining.
        """
        if self._draining:
            raise ShuttingDown
        self._in_flight += 1
        self._idle.clear()

    def end(self) -> None:
        """Counts a call off, once its answer is with the caller or the caller is gone."""
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Refuses new calls, waits for those in flight; returns whether all ended in time."""
        self._draining = True
        if self._idle.is_set():  # else no time at all would be too little for nothing at all
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True
