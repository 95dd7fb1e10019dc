"""The client whose results are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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
from attention_client._session import Session, seconds
from attention_client.errors import ClientClosedError, RequestCancelledError
from attention_service.v1 import attention_pb2_grpc

__all__ = ["AsyncAttentionClient"]

Keywords = ParamSpec("Keywords")
ResultT = TypeVar("ResultT")


def _awaiting(
    name: str, build: Callable[Keywords, Call[ResultT]]
) -> Callable[Concatenate[AsyncAttentionClient, Keywords], Coroutine[Any, Any, ResultT]]:
    """Returns a method that builds a call and awaits its result."""

    async def method(
        self: AsyncAttentionClient, /, *args: Keywords.args, **kwargs: Keywords.kwargs
    ) -> ResultT:
        return await self._session.answer(build(*args, **kwargs))

    return described_as(name, build, method)


class AsyncAttentionClient:
    """Asks an attention server, and awaits its answers. It belongs to one event loop.

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
        self._transport = _AwaitingTransport(checked_address(address))
        self._session = Session(address, seconds("timeout", timeout), retry, self._transport)

    attend = _awaiting("attend", AttendCall)
    """Returns attention over one batch of sequences, see ``AttendCall`` for the keywords."""

    list_models = _awaiting("list_models", ListModelsCall)
    """Returns all models of the server."""

    get_model = _awaiting("get_model", GetModelCall)
    """Returns one model's description."""

    server_info = _awaiting("server_info", ServerInfoCall)
    """Returns the server's version, execution providers and limits."""

    async def close(self) -> None:
        """Closes the connection; calls under way end in ``RequestCancelledError``.

        A task that is itself cancelled still ends in ``asyncio.CancelledError``.
        """
        await self._transport.close()

    async def __aenter__(self) -> AsyncAttentionClient:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class _AwaitingTransport:
    """Coroutines over a channel that is opened in the event loop of the first call."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._closed = False

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(
                self._address, options=channel_options(self._address)
            )
            self._stub = attention_pb2_grpc.AttentionServiceStub(self._channel)
        call = getattr(self._stub, rpc)(request, timeout=timeout)
        answer = asyncio.ensure_future(call)
        # gRPC's close() cancels the calls, which looks like a cancelled task to whoever awaits one.
        # gather keeps the two apart: it is cancelled only with the task.
        try:
            await asyncio.gather(answer, return_exceptions=True)
        except asyncio.CancelledError:
            call.cancel()  # answer may not have started, then nothing else tells the call
            raise
        if answer.cancelled() and self._closed:
            raise RequestCancelledError("the client was closed meanwhile", code="CANCELLED")
        return answer.result()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()
