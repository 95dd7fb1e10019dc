"""The limits of a server, read once for all calls of a client."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

import grpc

from attention_service.limits import Limits
from attention_service.v1 import attention_pb2 as pb

_UNBOUNDED = 1 << 128  # no product of the contract's sizes comes near
_MOST_NOTED = 256
_MOST_NOTED_BYTES = 1024
# An older server, or one that does not tell everybody; what it takes it decides by itself.
_DOES_NOT_SAY = (
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)


@dataclass(frozen=True)
class Bounds:
    """What a server takes."""

    in_message: Limits
    """Limits of a request that is one message."""
    on_stream: Limits
    """Limits of a request on a stream, which brings what no message holds."""
    _admitted: set[bytes] = field(default_factory=set, init=False)

    def admits(self, frame: bytes) -> bool:
        """Returns whether a request of this frame was found to be within: it need not be again."""
        return frame in self._admitted

    def admit(self, frame: bytes) -> None:
        """Takes note of a request that is within."""
        if len(frame) <= _MOST_NOTED_BYTES:
            if len(self._admitted) >= _MOST_NOTED:
                self._admitted.clear()
            self._admitted.add(frame)

    @property
    def message_bytes(self) -> int:
        """Largest message."""
        return self.in_message.message_bytes


class KnownLimits:
    """What is known of a server's limits; threads and tasks may share it."""

    def __init__(self) -> None:
        self._known: tuple[Bounds, float] | None = None  # and when they were asked for
        self._question: Future[None] | None = None
        self._guard = threading.Lock()

    @property
    def known(self) -> Bounds | None:
        """Limits that held once; None where nobody asked yet."""
        return None if self._known is None else self._known[0]

    async def read(
        self,
        *,
        since: float,
        ask: Callable[[], Awaitable[pb.GetServerInfoResponse]],
        wait: Callable[[Future[None]], Awaitable[None]],
    ) -> Bounds:
        """Returns limits that hold at ``since`` or later, on the clock of time.monotonic.

        Of callers at the same time one asks, and the others wait. Where its question fails, the
        error is the asker's alone, and one of the others asks.

        Args:
            since: -math.inf for any that are known.
            ask: Asks the server.
            wait: Returns once the future is done.

        Raises:
            grpc.RpcError: No answer. That it does not say is an answer: nothing is bounded.
        """
        while True:
            if self._known is not None:
                bounds, as_of = self._known
                if as_of >= since:
                    return bounds
            question: Future[None] = Future()
            try:  # before it is anybody's: Ctrl-C may come at any line
                others = self._claim(question)
                if others is None:
                    asked = time.monotonic()
                    bounds = _bounds(await _answer(ask))
                    self._known = bounds, asked
                    return bounds
            finally:
                self._let_go(question)
            await wait(others)

    def _claim(self, question: Future[None]) -> Future[None] | None:
        """Returns the question of others that is under way; where none is, this one is now."""
        with self._guard:
            others = self._question
            if others is None:
                self._question = question
            return others

    def _let_go(self, question: Future[None]) -> None:
        """Wakes those who wait for the question, if anybody does."""
        with self._guard:
            if self._question is question:
                self._question = None
        question.set_result(None)


async def _answer(ask: Callable[[], Awaitable[pb.GetServerInfoResponse]]) -> pb.Limits:
    try:
        return (await ask()).limits
    except grpc.RpcError as error:
        if cast("grpc.Call", error).code() not in _DOES_NOT_SAY:
            raise
        return pb.Limits()


def _bounds(limits: pb.Limits) -> Bounds:
    """Returns the limits; what the server leaves out bounds nothing."""
    in_message = Limits(
        message_bytes=limits.message_bytes or _UNBOUNDED,
        batch=limits.batch or _UNBOUNDED,
        length=limits.length or _UNBOUNDED,
        work=limits.work or _UNBOUNDED,
        stream_bytes=limits.stream_bytes or _UNBOUNDED,
    )
    return Bounds(in_message, in_message.on_stream())
