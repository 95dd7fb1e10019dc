"""Messages and bytes, away from the event loop where they are large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from attention_server.domain.errors import InvalidRequest
from attention_service.reasons import Reason

__all__ = ["LARGE_BYTES", "offload", "parse"]

LARGE_BYTES = 256 * 1024
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


async def offload(executor: Executor, size: int, work: Callable[[], _T]) -> _T:
    """Returns what the work returns; large work is done in the executor."""
    if size < LARGE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(executor, work)
