"""A question to the server as a value: built once, answered by either client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from attention_client._incoming import Answer
from attention_client._outgoing import Outgoing
from attention_service.limits import Limits

ResultT_co = TypeVar("ResultT_co", covariant=True)


Check: TypeAlias = Callable[[Limits], None]
"""Raises OverLimit where a request is over these limits."""


class Server(Protocol):
    """Whom a call asks, within its time."""

    async def ask(self, rpc: str, request: Message, check: Check | None = None, /) -> Any:
        """Sends one message, unless the check refuses it, and returns the one that answers it."""

    async def attend(self, request: Outgoing, check: Check, /) -> Answer:
        """Sends a request, unless the check refuses it, and returns its answer."""


class Call(ABC, Generic[ResultT_co]):
    """What a method of a client was given, and how its result comes about."""

    timeout: float | None
    """Seconds for all of it; the client's where None."""

    @abstractmethod
    async def exchange(self, server: Server) -> ResultT_co:
        """Asks what there is to ask and returns the result.

        It waits for nothing but ``server``, so that a client that blocks can run it too.

        Raises:
            AttentionError: Refused before anything was sent, or whatever ``server`` raises.
        """
