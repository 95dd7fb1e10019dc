"""Many calls to ``attend``: which are sent ahead, and in which form they may be given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from attention_client import _numbers
from attention_client._attend import AttendCall
from attention_client._results import AttendResult
from attention_client._session import Session, seconds

__all__ = ["Ahead", "AttendMany", "Calls", "Errors"]

Calls: TypeAlias = Iterable[AttendCall | Mapping[str, Any]]
"""What ``attend_many`` takes."""

Errors: TypeAlias = Literal["raise", "return"]
"""What to do with an error."""

TurnT = TypeVar("TurnT")

_MOST_BYTES_AHEAD = 32 << 20
"""A server keeps a gigabyte for all its callers, answers included."""

_ARRAYS = ("query", "key", "value", "key_mask", "attend_mask", "attn_bias")


@dataclass(frozen=True, eq=False)
class AttendMany:
    """Attention for many requests, each answered as ``attend`` would, in order.

        for result in client.attend_many({"model": "m", "query": x} for x in texts):
            ...

    Requests are sent ahead over one open stream, so that the server always has the next one: as
    fast as the machine computes, where a loop over ``attend`` waits for the way there and back.
    Nothing is sent before the first result is asked for; ending the loop gives up what was sent
    ahead. The awaiting client's results are for ``async for``; the blocking client tries again,
    where a request needs it, while you wait for a result.

    Args:
        calls: ``AttendCall(...)`` or dictionaries of the keywords of ``attend``; a generator is
            asked for one more than is on its way, which waits until there is room for it.
        errors: "raise" raises the error of a request in its place, which ends the loop; "return"
            gives the ``AttentionError`` in place of the result, and goes on. A keyword that
            ``attend`` does not have raises ``TypeError`` with either.
        in_flight: Most requests on their way at a time; fewer where they are large.
        timeout: Seconds for each request that names none, retries included; the client's where
            absent. They count from when it is sent: also while you work on the results before it.

    Returns:
        An iterator over an ``AttendResult`` for each call, in the order of the calls.

    Raises:
        AttentionError: As ``attend``.
    """

    calls: Calls
    _: KW_ONLY
    errors: Errors = "raise"
    in_flight: int = 32
    timeout: float | None = None

    def __post_init__(self) -> None:
        _numbers.one_of("errors", self.errors, ("raise", "return"))
        _numbers.whole("in_flight", self.in_flight, low=1)
        if self.timeout is not None:
            seconds("timeout", self.timeout)

    async def answer(self, session: Session, call: AttendCall | Mapping[str, Any]) -> AttendResult:
        """Returns what one of the calls results in."""
        if not isinstance(call, AttendCall):
            call = AttendCall(**call)
        return await session.answer(call, self.timeout)


class Ahead(Generic[TurnT]):
    """What was sent ahead, first in, first out.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: deque[tuple[TurnT, int]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._sent)

    @property
    def first(self) -> TurnT:
        """What was sent before all others."""
        return self._sent[0][0]

    def has_room_for(self, call: AttendCall | Mapping[str, Any]) -> bool:
        """Returns whether one more may be sent now; there is always room for one."""
        fits = self._bytes + _byte_size(call) <= _MOST_BYTES_AHEAD
        return not self._sent or (len(self._sent) < self._most and fits)

    def add(self, call: AttendCall | Mapping[str, Any], turn: TurnT) -> None:
        """Takes what was sent."""
        size = _byte_size(call)
        self._sent.append((turn, size))
        self._bytes += size

    def pop(self) -> TurnT:
        """Returns what was sent before all others, and forgets it."""
        turn, size = self._sent.popleft()
        self._bytes -= size
        return turn


def _byte_size(call: AttendCall | Mapping[str, Any]) -> int:
    """Returns the bytes of a call's arrays, as far as they say it."""
    keywords = call if isinstance(call, Mapping) else vars(call)
    return sum(getattr(keywords.get(name), "nbytes", 0) for name in _ARRAYS)
