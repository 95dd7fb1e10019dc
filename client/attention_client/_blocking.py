"""The client that blocks until there is a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc
from google.protobuf.message import Message

from attention_client._attend import AttendCall
from attention_client._call import Call
from attention_client._channel import channel_options, checked_address
from attention_client._describe import GetModelCall, ListModelsCall, ServerInfoCall
from attention_client._methods import described_as
from attention_client._retry import RetryPolicy
from attention_client._session import Session, seconds, without_waiting
from attention_client.errors import ClientClosedError
from attention_service.v1 import attention_pb2_grpc

__all__ = ["AttentionClient"]

Keywords = ParamSpec("Keywords")
ResultT = TypeVar("ResultT")


def _blocking(
    name: str, build: Callable[Keywords, Call[ResultT]]
) -> Callable[Concatenate[AttentionClient, Keywords], ResultT]:
    """Returns a method that builds a call and waits for its result."""

    def method(
        self: AttentionClient, /, *args: Keywords.args, **kwargs: Keywords.kwargs
    ) -> ResultT:
        return without_waiting(self._session.answer(build(*args, **kwargs)))

    return described_as(name, build, method)


class AttentionClient:
    """Asks an attention server, and blocks until it answers. Threads may share one client.

    Args:
        address: "host:port" of the server; "unix:path" where a proxy listens on a socket.
        timeout: Seconds that a call has, retries included, where it names no timeout itself.
        retry: When to try again where no server answers; None for never.

    Raises:
        ValueError: An address or a timeout that is none.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008  # frozen
    ) -> None:
        self._transport = _BlockingTransport(checked_address(address))
        self._session = Session(address, seconds("timeout", timeout), retry, self._transport)

    attend = _blocking("attend", AttendCall)
    """Returns attention over one batch of sequences, see ``AttendCall`` for the keywords."""

    list_models = _blocking("list_models", ListModelsCall)
    """Returns all models of the server."""

    get_model = _blocking("get_model", GetModelCall)
    """Returns one model's description."""

    server_info = _blocking("server_info", ServerInfoCall)
    """Returns the server's version, execution providers and limits."""

    def close(self) -> None:
        """Closes the connection; calls under way end in ``RequestCancelledError``."""
        self._transport.close()

    def __enter__(self) -> AttentionClient:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _BlockingTransport:
    """Coroutines that never suspend: they block."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=channel_options(address))
        self._stub = attention_pb2_grpc.AttentionServiceStub(self._channel)
        self._closed = False

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        if self._closed:
            raise ClientClosedError("the client is closed")
        try:
            return getattr(self._stub, rpc)(request, timeout=timeout)
        except ValueError:  # gRPC's, where another thread closed the channel since the line above
            if not self._closed:
                raise
        raise ClientClosedError("the client is closed")  # here: the user sees no ValueError of gRPC

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # no event loop runs this

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        futures.wait([future], timeout)

    def close(self) -> None:
        self._closed = True
        self._channel.close()
