"""Many calls over one connection, a few dozen at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.wire import SERVICE, Wire

IN_FLIGHT = 32
HANG_SECONDS = 60
"""A call that takes longer ends in DEADLINE_EXCEEDED."""


class Call(NamedTuple):
    """A call as bytes, of a method of any kind: one message is sent to it."""

    rpc: str
    data: bytes


def begin(wire: Wire, call: Call) -> Any:
    """Returns the call under way: a grpc.Future of bytes."""
    method: Any = wire.channel.unary_unary(f"/{SERVICE}/{call.rpc}")
    return method.future(call.data, timeout=HANG_SECONDS)


def ended(wire: Wire, calls: Iterable[Call]) -> Iterator[tuple[Call, Any]]:
    """Yields each call with its future, in order, while others are in flight."""
    waiting: deque[tuple[Call, Any]] = deque()
    for call in calls:
        waiting.append((call, begin(wire, call)))
        if len(waiting) == IN_FLIGHT:
            yield waiting.popleft()
    yield from waiting
