"""What happens between a call and its result: limits, deadline, retries, errors.

It is written once, as coroutines over a ``Transport``. Where the transport never suspends, as
the blocking one, ``without_waiting`` runs them to their end on the spot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from attention_client import _numbers
from attention_client._call import Call, Check
from attention_client._limits import KnownLimits
from attention_client._refusal import limit_refusal, refusal
from attention_client._retry import RetryPolicy
from attention_client._status import error_from_rpc
from attention_client.errors import DeadlineExceededError
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

ResultT = TypeVar("ResultT")


class Transport(Protocol):
    """All that differs between the clients: how to wait."""

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        """Returns the message that answers.

        Raises:
            grpc.RpcError: What the server, or gRPC itself, says went wrong.
            AttentionError: The client is closed, or was closed meanwhile.
        """

    async def sleep(self, seconds: float) -> None:
        """Returns after that time."""

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        """Returns once another call has set the future, or after that time."""


@dataclass(frozen=True)
class Session:
    """A client's settings, its transport, and what it knows of the server."""

    address: str
    timeout: float
    retry: RetryPolicy | None
    transport: Transport
    limits: KnownLimits = field(default_factory=KnownLimits)

    async def answer(self, call: Call[ResultT]) -> ResultT:
        """Returns the call's result.

        Raises:
            AttentionError: Whatever kept the call from its result.
        """
        timeout = self.timeout if call.timeout is None else seconds("timeout", call.timeout)
        return await call.exchange(_Exchange(self, timeout).ask)


class _Exchange:
    """All that is asked for one call, within its time."""

    def __init__(self, session: Session, timeout: float) -> None:
        self._session = session
        self._timeout = timeout
        self._started = time.monotonic()
        self._deadline = self._started + timeout

    async def ask(self, rpc: str, request: Message, /, *, check: Check | None = None) -> Any:
        """Returns the message that answers, see ``Ask``."""
        if check is not None:
            await self._admit(check)
        return await self._insist(lambda: self._send(rpc, request))

    async def _admit(self, check: Check) -> None:
        """Refuses what is over the server's limits.

        Raises:
            AttentionError: Refused, or the limits cannot be read.
        """
        over = _excess(check, await self._limits(since=-math.inf))
        if over is not None:
            # The server may have been started anew since they were read, and take more now.
            over = _excess(check, await self._limits(since=self._started))
        if over is not None:
            raise limit_refusal(over)

    async def _limits(self, *, since: float) -> Limits:
        """Returns limits that hold at ``since`` or later."""

        async def ask() -> Any:
            return await self._send("GetServerInfo", pb.GetServerInfoRequest())

        async def wait(question: Future[None]) -> None:
            await self._session.transport.wait(question, timeout=self._remaining())

        read = self._session.limits.read
        return await self._insist(lambda: read(since=since, ask=ask, wait=wait))

    async def _insist(self, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Returns what an attempt returns, after more of them where the retry policy says so."""
        session, attempts = self._session, 1
        while True:
            try:
                return await attempt()
            except grpc.RpcError as rpc_error:
                error = error_from_rpc(rpc_error, address=session.address, timeout=self._timeout)
            pause = None if session.retry is None else session.retry.pause_after(error, attempts)
            if pause is None or pause >= self._deadline - time.monotonic():
                raise error  # here, not above: the user sees no grpc.RpcError as its context
            await session.transport.sleep(pause)
            attempts += 1

    async def _send(self, rpc: str, request: Message) -> Any:
        return await self._session.transport.send(rpc, request, timeout=self._remaining())

    def _remaining(self) -> float:
        """Returns the seconds that are left.

        Raises:
            DeadlineExceededError: None.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(
                f"no answer from {self._session.address} within {self._timeout:g} s"
            )
        return remaining


def _excess(check: Check, limits: Limits) -> OverLimit | None:
    """Returns which of the limits is exceeded."""
    try:
        check(limits)
    except OverLimit as over:
        return over
    return None


def without_waiting(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Returns the result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: ResultT = end.value
        return result
    coroutine.close()
    raise AssertionError("a blocking transport must not suspend")


def seconds(argument: str, value: float) -> float:
    """Returns a time limit.

    Raises:
        InvalidRequestError: No positive, finite number.
    """
    limit = _numbers.real(argument, value)
    if not limit > 0 or math.isinf(limit):
        raise refusal(argument, f"must be more than 0 seconds, not {limit:g}", Reason.OUT_OF_RANGE)
    return limit
