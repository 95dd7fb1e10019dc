"""What happens between a call and its result: limits, deadline, retries, errors.

It is written once, as coroutines over a ``Transport``. A client that blocks runs them in the
thread that wants the result: one that blocks, see ``_reply``, or many in turns, see ``_turns``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from attention_client import _numbers
from attention_client._call import Call, Check
from attention_client._deadline import Deadline
from attention_client._incoming import Answer
from attention_client._limits import Bounds, KnownLimits
from attention_client._outgoing import Outgoing
from attention_client._refusal import limit_refusal, refusal
from attention_client._reply import Reply
from attention_client._retry import RetryPolicy
from attention_client._status import error_from_rpc
from attention_client._stream import NoStream, Outcome, Stream
from attention_client.errors import (
    AttentionError,
    NotImplementedByServerError,
    ServerUnavailableError,
)
from attention_service.limits import OverLimit
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

ResultT = TypeVar("ResultT")


class Transport(Protocol):
    """How a client reaches the server."""

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        """Returns the message that answers.

        Raises:
            grpc.RpcError: What the server, or gRPC itself, says went wrong.
            AttentionError: The client is closed, or was closed meanwhile.
        """

    def stream(self, *, needed: bool) -> Stream | None:
        """Returns the stream to send on; None where requests do better without one.

        Args:
            needed: Whether the request can travel on a stream alone.

        Raises:
            ClientClosedError: The client is closed.
        """

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        """Returns once another call has set the future, or after that time."""


@dataclass(frozen=True)
class Session:
    """A client's settings, how it sends and waits, and what it knows of the server."""

    address: str
    timeout: float
    retry: RetryPolicy | None
    transport: Transport
    reply: Callable[[], Reply]
    """Returns where one outcome can arrive."""
    limits: KnownLimits = field(default_factory=KnownLimits)

    async def answer(self, call: Call[ResultT], timeout: float | None = None) -> ResultT:
        """Returns the call's result.

        Args:
            call: The call.
            timeout: Seconds, where it names none; the client's where absent.

        Raises:
            AttentionError: Whatever kept the call from its result.
        """
        if call.timeout is not None:
            timeout = seconds("timeout", call.timeout)
        deadline = Deadline(self.address, timeout or self.timeout, time.monotonic())
        return await call.exchange(_Exchange(self, deadline))


@dataclass(frozen=True)
class _Exchange:
    """All that is asked for one call, within its time; a ``Server`` to the call."""

    _session: Session
    _deadline: Deadline

    async def ask(self, rpc: str, request: Message, check: Check | None = None, /) -> Any:
        """Returns the message that answers."""
        if check is not None:
            await self._admit(check, on_stream=False)
        return await self._insist(lambda: self._send(rpc, request))

    async def attend(self, request: Outgoing, check: Check, /) -> Answer:
        """Returns the answer, over the open stream where there is one."""
        bounds = self._session.limits.known
        if bounds is None or not bounds.admits(request.frame):
            bounds = await self._admit(check)
            bounds.admit(request.frame)
        message_bytes = bounds.message_bytes
        needed = request.nbytes > message_bytes
        return await self._insist(lambda: self._attend(request, message_bytes, needed=needed))

    async def _attend(self, request: Outgoing, message_bytes: int, *, needed: bool) -> Answer:
        stream = self._session.transport.stream(needed=needed)
        if stream is not None:
            outcome = await self._over(stream, request, message_bytes)
            if isinstance(outcome, Answer):
                return outcome
            if not isinstance(outcome, (NoStream, NotImplementedByServerError)):
                raise outcome
        try:
            return Answer(await self._send("Attend", request.message()))
        except grpc.RpcError as rpc_error:
            reason = self._error_of(rpc_error).reason
            if needed or stream is not None or reason is not Reason.ANSWER_LIMIT:
                raise
        # The answer is too large for a message, but perhaps not for a stream.
        return await self._attend(request, message_bytes, needed=True)

    def _error_of(self, rpc_error: grpc.RpcError) -> AttentionError:
        """Returns what the server, or gRPC itself, says went wrong."""
        return error_from_rpc(
            rpc_error, address=self._session.address, timeout=self._deadline.timeout
        )

    async def _over(self, stream: Stream, request: Outgoing, message_bytes: int) -> Outcome:
        """Returns what comes of the request on the stream."""
        reply = self._session.reply()
        timeout = self._deadline.remaining()
        stream_id = stream.ask(request, timeout=timeout, message_bytes=message_bytes, settle=reply)
        try:
            outcome = await reply.outcome(timeout)
        finally:
            stream.give_up(stream_id, reply)  # unless it was answered
        if outcome is None:
            stream.note_timeout()
            return self._deadline.exceeded("DEADLINE_EXCEEDED")
        return outcome

    async def _admit(self, check: Check, *, on_stream: bool = True) -> Bounds:
        """Returns what the server takes; the request is within.

        Raises:
            AttentionError: Refused, or the limits cannot be read.
        """
        bounds = self._session.limits.known or await self._bounds(since=-math.inf)
        over = _excess(check, bounds, on_stream=on_stream)
        if over is not None:
            # The server may have been started anew since they were read, and take more now.
            bounds = await self._bounds(since=self._deadline.started)
            over = _excess(check, bounds, on_stream=on_stream)
        if over is not None:
            raise limit_refusal(over)
        return bounds

    async def _bounds(self, *, since: float) -> Bounds:
        """Returns limits that hold at ``since`` or later."""

        async def ask() -> Any:
            return await self._send("GetServerInfo", pb.GetServerInfoRequest())

        async def wait(question: Future[None]) -> None:
            timeout = self._deadline.remaining()
            await self._session.transport.wait(question, timeout=timeout)

        read = self._session.limits.read
        return await self._insist(lambda: read(since=since, ask=ask, wait=wait))

    async def _insist(self, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Returns what an attempt returns, after more of them where the retry policy says so."""
        session, attempts = self._session, 1
        error: AttentionError
        while True:
            try:
                return await attempt()
            except grpc.RpcError as rpc_error:
                error = self._error_of(rpc_error)
            except ServerUnavailableError as unavailable:
                error = unavailable
            pause = None if session.retry is None else session.retry.pause_after(error, attempts)
            if pause is None or pause >= self._deadline.left():
                raise error  # here, not above: the user sees no grpc.RpcError as its context
            await session.reply().outcome(pause)  # which nobody settles
            attempts += 1

    async def _send(self, rpc: str, request: Message) -> Any:
        timeout = self._deadline.remaining()
        return await self._session.transport.send(rpc, request, timeout=timeout)


def _excess(check: Check, bounds: Bounds, *, on_stream: bool) -> OverLimit | None:
    """Returns which of the limits is exceeded."""
    try:
        check(bounds.on_stream if on_stream else bounds.in_message)
    except OverLimit as over:
        return over
    return None


def seconds(argument: str, value: float) -> float:
    """Returns a time limit.

    Raises:
        InvalidRequestError: No positive, finite number.
    """
    limit = _numbers.real(argument, value)
    if not limit > 0 or math.isinf(limit):
        raise refusal(argument, f"must be more than 0 seconds, not {limit:g}", Reason.OUT_OF_RANGE)
    return limit
