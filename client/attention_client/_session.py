"""What happens between a call and its result: deadline, retries, errors.

It is written once, as coroutines over a ``Transport``. Where the transport never suspends, as
the blocking one, ``without_waiting`` runs them to their end on the spot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from attention_client import _numbers
from attention_client._call import Call
from attention_client._refusal import refusal
from attention_client._retry import RetryPolicy
from attention_client._status import error_from_rpc
from attention_client.errors import DeadlineExceededError
from attention_service.reasons import Reason

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


@dataclass(frozen=True)
class Session:
    """A client's settings and its transport."""

    address: str
    timeout: float
    retry: RetryPolicy | None
    transport: Transport

    async def answer(self, call: Call[ResultT]) -> ResultT:
        """Returns the call's result.

        Raises:
            AttentionError: Whatever kept the call from its result.
        """
        timeout = self.timeout if call.timeout is None else seconds("timeout", call.timeout)
        deadline = time.monotonic() + timeout

        async def ask(rpc: str, request: Message, /) -> Any:
            attempt = 1
            while True:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise DeadlineExceededError(
                        f"no answer from {self.address} within {timeout:g} s"
                    )
                try:
                    return await self.transport.send(rpc, request, timeout=remaining)
                except grpc.RpcError as rpc_error:
                    error = error_from_rpc(rpc_error, address=self.address, timeout=timeout)
                pause = None if self.retry is None else self.retry.pause_after(error, attempt)
                if pause is None or pause >= deadline - time.monotonic():
                    raise error  # here, not above: the user sees no grpc.RpcError as its context
                await self.transport.sleep(pause)
                attempt += 1

        return await call.exchange(ask)


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
