"""Messages and bytes, away from the event loop where they are large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message
from grpc import aio

from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_service.reasons import Reason

__all__ = ["LARGE_BYTES", "deadline_of", "offload", "parse", "parse_short"]

LARGE_BYTES = 1 << 20
"""Work on this many bytes takes longer than handing it to another thread."""

_MessageT = TypeVar("_MessageT", bound=Message)
_T = TypeVar("_T")


def parse(message_type: type[_MessageT], data: bytes) -> _MessageT:
    """Returns the message that the bytes hold.

    Raises:
        InvalidRequest: MALFORMED_MESSAGE.
    """
    try:
        return message_type.FromString(data)
    except DecodeError:
        raise InvalidRequest.of(
            Reason.MALFORMED_MESSAGE, "", f"the bytes are no {message_type.DESCRIPTOR.full_name}"
        ) from None


def parse_short(message_type: type[_MessageT], data: bytes, most: int) -> _MessageT:
    """Returns the message that the bytes hold; of more bytes than these none is read.

    Raises:
        LimitExceeded: MESSAGE_LIMIT.
        InvalidRequest: MALFORMED_MESSAGE.
    """
    if len(data) > most:
        must = f"at most {most} bytes for {message_type.DESCRIPTOR.name}, not {len(data)}"
        raise LimitExceeded(Reason.MESSAGE_LIMIT, Violation("", must))
    return parse(message_type, data)


def deadline_of(context: aio.ServicerContext[bytes, bytes]) -> float | None:
    """Returns when the caller's time is over, on the clock of time.monotonic."""
    remaining = cast("float | None", context.time_remaining())
    return None if remaining is None else time.monotonic() + remaining


async def offload(executor: Executor, size: int, work: Callable[[], _T]) -> _T:
    """Returns what the work returns; large work is done in the executor.

    Cancelled before that, it holds nothing that the work holds.
    """
    if size < LARGE_BYTES:
        return work()
    held = [work]
    del work

    def taken() -> _T:  # the executor keeps this until it comes to it, cancelled or not
        return held.pop()()

    try:
        return await asyncio.get_running_loop().run_in_executor(executor, taken)
    finally:
        held.clear()
