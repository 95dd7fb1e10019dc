"""How many calls there are and how they ended; refuses new ones once the server drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum

from attention_server.domain.errors import (
    Abandoned,
    DeadlinePassed,
    RequestError,
    ShuttingDown,
)

__all__ = ["Ending", "Traffic", "TrafficCounts"]


class Ending(Enum):
    """How a call ended for the server; the values are fields of TrafficCounts."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"

    @classmethod
    def of(cls, error: BaseException) -> Ending:
        """Returns how a call ended that an error ended."""
        if isinstance(error, DeadlinePassed):
            return cls.EXPIRED
        if isinstance(error, Abandoned):
            return cls.CANCELLED
        return cls.REFUSED if isinstance(error, RequestError) else cls.FAILED


@dataclass(frozen=True)
class TrafficCounts:
    """Calls since the start. At any time accepted is the sum of all the others.

    A call counts from when its request is here whole. It ends once: as what the server made of it,
    when that is sent or the caller is gone. Each request on a stream counts as a call, from its
    first message; the stream itself only where it is refused.
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


_NUMBERS = tuple(field.name for field in fields(TrafficCounts))
_ACCEPTED, _IN_FLIGHT = _NUMBERS.index("accepted"), _NUMBERS.index("in_flight")
_PLACES = {ending: _NUMBERS.index(ending.value) for ending in Ending}


class Traffic:
    """Counts calls and their endings; refuses new ones once draining. Belongs to one event loop."""

    def __init__(self) -> None:
        self._numbers = (0,) * len(_NUMBERS)  # replaced, never changed
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._streams: set[Callable[[], None]] = set()

    @property
    def counts(self) -> TrafficCounts:
        """The counts of now, consistent from any thread."""
        return TrafficCounts(*self._numbers)

    def begin(self) -> None:
        """Counts a call in; unless refused here, ``end`` must follow exactly once.

        Raises:
            ShuttingDown: The server is draining.
        """
        if self._draining:
            self.refuse(Ending.REFUSED)
            raise ShuttingDown
        self._add(_ACCEPTED, 1, _IN_FLIGHT, 1)
        self._idle.clear()

    def end(self, ending: Ending) -> None:
        """Counts a call off, once its answer is with the caller or the caller is gone."""
        self._add(_IN_FLIGHT, -1, _PLACES[ending], 1)
        if not self._numbers[_IN_FLIGHT]:
            self._idle.set()

    def refuse(self, ending: Ending) -> None:
        """Counts a call that was over as it began."""
        self._add(_ACCEPTED, 1, _PLACES[ending], 1)

    def _add(self, place: int, change: int, other_place: int, other_change: int) -> None:
        numbers = list(self._numbers)
        numbers[place] += change
        numbers[other_place] += other_change
        self._numbers = tuple(numbers)

    def opened(self, drains: Callable[[], None]) -> None:
        """Takes note of a stream, which is told once the server drains: nobody waits for it.

        Raises:
            ShuttingDown: The server is draining.
        """
        if self._draining:
            self.refuse(Ending.REFUSED)
            raise ShuttingDown
        self._streams.add(drains)

    def closed(self, drains: Callable[[], None]) -> None:
        """Forgets a stream."""
        self._streams.discard(drains)

    async def drain(self, seconds: float) -> bool:
        """Refuses new calls, waits for those in flight; returns whether all ended in time."""
        self._draining = True
        for drains in tuple(self._streams):
            drains()
        if self._idle.is_set():  # else no time at all would be too little for nothing at all
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True
