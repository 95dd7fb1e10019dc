"""The requests of one stream that are not over: by name, in number, in bytes, in time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

from attention_server.domain.errors import (
    DeadlinePassed,
    InvalidRequest,
    QueueFull,
    RequestError,
)
from attention_server.edge.stream_request import StreamRequest
from attention_server.scheduling.budget import RETRY_AFTER_SECONDS, Budget
from attention_service.reasons import Reason

__all__ = ["OpenRequests"]

MOST_REQUESTS = 256
"""Requests of a stream with which it is not read on until one is over."""
MOST_BYTES = 64 << 20
"""Bytes of two or more requests and their answers with which it is not either."""
MOST_IN_CHUNKS = 16
"""Requests of a stream whose chunks are on their way; one more is refused."""


class OpenRequests:
    """Knows whether there is room for more, and what is late. Belongs to one event loop.

    Requests whose chunks are on their way take no part of the room: who waits for it would wait for
    chunks that are not read.

    Args:
        budget: Bytes that all calls share.
        idle_seconds: Time without a chunk after which a request is late.
    """

    def __init__(self, budget: Budget, idle_seconds: float) -> None:
        self._budget = budget
        self._idle_seconds = idle_seconds
        self._all: set[StreamRequest] = set()
        self._unanswered: dict[str, StreamRequest] = {}
        self._in_chunks: set[StreamRequest] = set()
        self._complete_bytes = 0
        self._reads_since = time.monotonic()
        self.has_room = asyncio.Event()
        """Set while the stream may be read."""
        self.has_room.set()

    def __bool__(self) -> bool:
        """Returns whether there are any."""
        return bool(self._all)

    def __contains__(self, request: StreamRequest) -> bool:
        """Returns whether this one is not over."""
        return request in self._all

    def __iter__(self) -> Iterator[StreamRequest]:
        """Yields all of them, of a copy."""
        yield from tuple(self._all)

    @property
    def in_chunks(self) -> tuple[StreamRequest, ...]:
        """Those whose chunks are on their way."""
        return tuple(self._in_chunks)

    def add(self, request: StreamRequest) -> None:
        """Lets one more be open."""
        self._all.add(request)
        self._look_for_room()

    def name(self, request: StreamRequest) -> None:
        """Lets the request have its id.

        Raises:
            InvalidRequest: INVALID_NAME: another has it.
        """
        if request.id in self._unanswered:
            raise InvalidRequest.of(
                Reason.INVALID_NAME, "request_id", "must be of no request that is unanswered"
            )
        self._unanswered[request.id] = request

    def named(self, request_id: str) -> StreamRequest | None:
        """Returns the request of an id; None where it is over, or never was."""
        return self._unanswered.get(request_id)

    def hold(self, request: StreamRequest, size: int) -> None:
        """Lets the request hold as many bytes more.

        Raises:
            QueueFull: Not as many are left.
        """
        self._budget.take(request, size)
        request.held_bytes += size
        if request not in self._in_chunks:
            self._complete_bytes += size
            self._look_for_room()

    def wait_for_chunks(self, request: StreamRequest) -> None:
        """Takes note that a request is not complete.

        Raises:
            QueueFull: Too many are not.
        """
        if len(self._in_chunks) >= MOST_IN_CHUNKS:
            raise QueueFull(RETRY_AFTER_SECONDS)
        self._in_chunks.add(request)
        self._complete_bytes -= request.held_bytes
        self._look_for_room()

    def complete(self, request: StreamRequest) -> None:
        """Takes note that all chunks came, or that no more are waited for."""
        request.chunks = None
        if request in self._in_chunks:
            self._in_chunks.remove(request)
            self._complete_bytes += request.held_bytes
            self._look_for_room()

    def forget_name(self, request: StreamRequest) -> None:
        """Lets the id be used again: who has read the answer may."""
        if self._unanswered.get(request.id) is request:
            del self._unanswered[request.id]

    def remove(self, request: StreamRequest) -> int:
        """Lets go of a request that is over, and returns the bytes that it held."""
        self.complete(request)
        self.forget_name(request)
        self._all.discard(request)
        self._complete_bytes -= request.held_bytes
        request.held_bytes = 0
        self._look_for_room()
        return self._budget.give_back(request)

    def due(self, request: StreamRequest) -> float:
        """Returns when a request will be late, on the clock of time.monotonic.

        While the stream is not read, nobody is late with a chunk.
        """
        due = math.inf if request.deadline is None else request.deadline
        if request in self._in_chunks:
            heard = max(request.heard, self._reads_since)
            due = min(due, heard + self._idle_seconds)
        return due

    def late(self, now: float) -> list[tuple[StreamRequest, RequestError]]:
        """Returns those whose time is over, and why."""
        if not self.has_room.is_set():
            self._reads_since = now
        found: list[tuple[StreamRequest, RequestError]] = []
        for request in self._unanswered.values():
            if request.deadline is not None and request.deadline <= now:
                found.append((request, DeadlinePassed()))
            elif self.due(request) <= now:
                found.append((request, DeadlinePassed(self._idle_message)))
        return found

    def next_due(self) -> float:
        """Returns when the next will be late; infinity for never."""
        return min(map(self.due, self._unanswered.values()), default=math.inf)

    @property
    def _idle_message(self) -> str:
        return f"no chunk of it came for {self._idle_seconds:g} s, and it is not complete"

    def _look_for_room(self) -> None:
        count = len(self._all) - len(self._in_chunks)
        if count >= MOST_REQUESTS or (count > 1 and self._complete_bytes > MOST_BYTES):
            self.has_room.clear()
        elif not self.has_room.is_set():
            self._reads_since = time.monotonic()
            self.has_room.set()
