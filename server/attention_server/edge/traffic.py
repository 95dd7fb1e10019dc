"""How many calls there are and how they ended; refuses new ones once the server drains."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import Enum

from attention_server.domain.errors import ShuttingDown

__all__ = ["Ending", "Traffic", "TrafficCounts"]


class Ending(Enum):
    """How a call ended for the server; the values are fields of TrafficCounts."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True)
class TrafficCounts:
    """Calls since the start. At any time accepted is the sum of all the others.

    A call counts from when its request is here whole, a stream from its headers. It ends once: as
    what the server made of it, when that is sent or the caller is gone.
    """

    accepted: int = 0
    """All that came, those refused at the door of a draining server included."""
    in_flight: int = 0
    """Not over yet."""
    answered: int = 0
    """An answer was made and given to gRPC, whether or not the caller stayed to read it all."""
    refused: int = 0
    """Told what was wrong: with the request, or that too much waits, or that the server drains."""
    cancelled: int = 0
    """The caller left before the answer, or the end of the grace period came before it."""
    expired: int = 0
    """The deadline came before the answer."""
    failed: int = 0
    """A fault of the server, which the log has."""

    def __str__(self) -> str:
        """Returns "2,000 calls, 1,998 answered, 2 refused": endings that none had are left out."""
        numbers = ((getattr(self, ending.value), ending.value) for ending in Ending)
        told = [f"{number:,} {name}" for number, name in numbers if number]
        return ", ".join([f"{self.accepted:,} calls", *told])


class Traffic:
    """Counts calls and their endings; refuses new ones once draining. Belongs to one event loop."""

    def __init__(self) -> None:
        self.counts = TrafficCounts()
        """The counts of now, consistent from any thread: they are replaced, never changed."""
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Counts a call in; unless refused here, ``end`` must follow exactly once.

        Raises:
            ShuttingDown: The server is draining.
        """
        counts = self.counts
        if self._draining:
            self.counts = replace(counts, accepted=counts.accepted + 1, refused=counts.refused + 1)
            raise ShuttingDown
        self.counts = replace(counts, accepted=counts.accepted + 1, in_flight=counts.in_flight + 1)
        self._idle.clear()

    def end(self, ending: Ending) -> None:
        """Counts a call off, once its answer is with the caller or the caller is gone."""
        counts, name = self.counts, ending.value
        ended = {name: getattr(counts, name) + 1}
        self.counts = replace(counts, in_flight=counts.in_flight - 1, **ended)
        if not self.counts.in_flight:
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
