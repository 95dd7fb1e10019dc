"""A question to the server as a value: built once, answered by either client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from attention_service.limits import Limits

ResultT_co = TypeVar("ResultT_co", covariant=True)


Check: TypeAlias = Callable[[Limits], None]
"""Raises OverLimit where a request is over these limits."""


class Ask(Protocol):
    """Sends one message and returns the one that answers it, within the call's time.

    With a check, a message that is over the server's limits is refused before it is sent.
    """

    def __call__(
        self, rpc: str, request: Message, /, *, check: Check | None = None
    ) -> Awaitable[Any]: ...


class Call(ABC, Generic[ResultT_co]):
    """What a method of a client was given, and how its result comes about."""

    timeout: float | None
    """Seconds for all of it; the client's where None."""

    @abstractmethod
    async def exchange(self, ask: Ask) -> ResultT_co:
        """Asks what there is to ask and returns the result.

        It waits for nothing but ``ask``, so that a client that blocks can run it too.

        Raises:
            AttentionError: Refused before anything was sent, or whatever ``ask`` raises.
        """
