"""The client whose results are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import grpc
from google.protobuf.message import Message

from attention_client._ablate import AblateHeads, Ablation, AblationResult
from attention_client._analyze import AnalyzeHeadsCall
from attention_client._attend import AttendCall
from attention_client._awaiting_stream import AwaitingStream
from attention_client._call import Call
from attention_client._channel import channel_options, checked_address
from attention_client._describe import GetModelCall, ListModelsCall, ServerInfoCall
from attention_client._many import Ahead, AttendMany, Calls, Errors
from attention_client._methods import described_as
from attention_client._reply import AwaitedReply
from attention_client._results import AttendResult
from attention_client._retry import RetryPolicy
from attention_client._session import Session, seconds
from attention_client._streams import Streams
from attention_client.errors import AttentionError, ClientClosedError, RequestCancelledError
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

    return described_as(name, build)(method)


def _ablating(
    build: Callable[Keywords, AblateHeads],
) -> Callable[Concatenate[AsyncAttentionClient, Keywords], Coroutine[Any, Any, AblationResult]]:
    """Returns a method that asks for an output with all heads, and without each."""

    async def method(
        self: AsyncAttentionClient, /, *args: Keywords.args, **kwargs: Keywords.kwargs
    ) -> AblationResult:
        asked = build(*args, **kwargs)
        ablation = Ablation(asked, await self._session.answer(asked.call()))
        async for result in self.attend_many(ablation.calls()):
            ablation.add(result)
        return ablation.result()

    return described_as("ablate_heads", build)(method)


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
        limit = seconds("timeout", timeout)
        self._session = Session(address, limit, retry, self._transport, AwaitedReply)

    attend = _awaiting("attend", AttendCall)
    """Returns attention over one batch of sequences, see ``AttendCall`` for the keywords."""

    @overload
    def attend_many(
        self,
        calls: Calls,
        *,
        errors: Literal["raise"] = "raise",
        in_flight: int = 32,
        timeout: float | None = None,
    ) -> AsyncIterator[AttendResult]: ...
    @overload
    def attend_many(
        self,
        calls: Calls,
        *,
        errors: Errors,
        in_flight: int = 32,
        timeout: float | None = None,
    ) -> AsyncIterator[AttendResult | AttentionError]: ...
    @described_as("attend_many", AttendMany)
    def attend_many(
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[AttendResult | AttentionError]:
        """Returns attention for many requests, in order."""
        return self._results(AttendMany(*args, **kwargs))

    async def _results(self, many: AttendMany) -> AsyncIterator[AttendResult | AttentionError]:
        ahead: Ahead[asyncio.Task[AttendResult]] = Ahead(many.in_flight)
        tasks: set[asyncio.Task[AttendResult]] = set()

        def ended(task: asyncio.Task[AttendResult]) -> None:
            tasks.discard(task)
            if not task.cancelled():
                task.exception()  # it counts as told, though nobody may come to ask for it

        try:
            for call in many.calls:
                while ahead and (ahead.first.done() or not ahead.has_room_for(call)):
                    yield await _result(ahead.pop(), many.errors)
                task = asyncio.create_task(many.answer(self._session, call))
                tasks.add(task)
                task.add_done_callback(ended)
                ahead.add(call, task)
            while ahead:
                yield await _result(ahead.pop(), many.errors)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    analyze_heads = _awaiting("analyze_heads", AnalyzeHeadsCall)
    """Returns what each head attends to, in figures, without the weights."""

    ablate_heads = _ablating(AblateHeads)
    """Returns what each head does to the output: how much it changes without the head."""

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


async def _result(
    task: asyncio.Task[AttendResult], errors: Errors
) -> AttendResult | AttentionError:
    """Returns the result, or the error where errors are returned."""
    try:
        return await task
    except AttentionError as error:
        if errors == "raise":
            raise
        return error


class _AwaitingTransport:
    """Coroutines over a channel that is opened in the event loop of the first call."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._streams = Streams(lambda: AwaitingStream(self._opened()))
        self._closed = False

    def _opened(self) -> grpc.aio.Channel:
        """Returns the channel.

        Raises:
            ClientClosedError: The client is closed.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(
                self._address, options=channel_options(self._address)
            )
            self._stub = attention_pb2_grpc.AttentionServiceStub(self._channel)
        return self._channel

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        self._opened()
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

    def stream(self, *, needed: bool) -> AwaitingStream | None:
        self._opened()
        return self._streams.current(needed=needed)

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)

    async def close(self) -> None:
        self._closed = True
        self._streams.close(
            RequestCancelledError("the client was closed meanwhile", code="CANCELLED")
        )
        if self._channel is not None:
            await self._channel.close()
