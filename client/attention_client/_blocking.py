"""The client that blocks until there is a result."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import grpc
from google.protobuf.message import Message

from attention_client._ablate import AblateHeads, Ablation, AblationResult
from attention_client._analyze import AnalyzeHeadsCall
from attention_client._attend import AttendCall
from attention_client._blocking_stream import BlockingStream
from attention_client._call import Call
from attention_client._channel import channel_options, checked_address
from attention_client._describe import GetModelCall, ListModelsCall, ServerInfoCall
from attention_client._many import Ahead, AttendMany, Calls, Errors
from attention_client._methods import described_as
from attention_client._reply import BlockingReply, finished
from attention_client._results import AttendResult
from attention_client._retry import RetryPolicy
from attention_client._session import Session, seconds
from attention_client._streams import Streams
from attention_client._turns import Turn, Turns
from attention_client.errors import AttentionError, ClientClosedError, RequestCancelledError
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
        return finished(self._session.answer(build(*args, **kwargs)))

    return described_as(name, build)(method)


def _ablating(
    build: Callable[Keywords, AblateHeads],
) -> Callable[Concatenate[AttentionClient, Keywords], AblationResult]:
    """Returns a method that asks for an output with all heads, and without each."""

    def method(
        self: AttentionClient, /, *args: Keywords.args, **kwargs: Keywords.kwargs
    ) -> AblationResult:
        asked = build(*args, **kwargs)
        ablation = Ablation(asked, finished(self._session.answer(asked.call())))
        for result in self.attend_many(ablation.calls()):
            ablation.add(result)
        return ablation.result()

    return described_as("ablate_heads", build)(method)


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
        limit = seconds("timeout", timeout)
        self._session = Session(address, limit, retry, self._transport, BlockingReply)

    attend = _blocking("attend", AttendCall)
    """Returns attention over one batch of sequences, see ``AttendCall`` for the keywords."""

    @overload
    def attend_many(
        self,
        calls: Calls,
        *,
        errors: Literal["raise"] = "raise",
        in_flight: int = 32,
        timeout: float | None = None,
    ) -> Iterator[AttendResult]: ...
    @overload
    def attend_many(
        self,
        calls: Calls,
        *,
        errors: Errors,
        in_flight: int = 32,
        timeout: float | None = None,
    ) -> Iterator[AttendResult | AttentionError]: ...
    @described_as("attend_many", AttendMany)
    def attend_many(self, *args: Any, **kwargs: Any) -> Iterator[AttendResult | AttentionError]:
        """Returns attention for many requests, in order."""
        return self._results(AttendMany(*args, **kwargs))

    def _results(self, many: AttendMany) -> Iterator[AttendResult | AttentionError]:
        turns: Turns[AttendResult] = Turns()
        session = replace(self._session, reply=turns.reply)
        ahead: Ahead[Turn[AttendResult]] = Ahead(many.in_flight)
        try:
            for call in many.calls:
                while ahead and (ahead.first.is_done or not ahead.has_room_for(call)):
                    yield _result(turns, ahead.pop(), many.errors)
                ahead.add(call, turns.start(many.answer(session, call)))
            while ahead:
                yield _result(turns, ahead.pop(), many.errors)
        finally:
            turns.abandon()

    analyze_heads = _blocking("analyze_heads", AnalyzeHeadsCall)
    """Returns what each head attends to, in figures, without the weights."""

    ablate_heads = _ablating(AblateHeads)
    """Returns what each head does to the output: how much it changes without the head."""

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


def _result(
    turns: Turns[AttendResult], turn: Turn[AttendResult], errors: Errors
) -> AttendResult | AttentionError:
    """Returns the result, or the error where errors are returned."""
    try:
        return turns.result(turn)
    except AttentionError as error:
        if errors == "raise":
            raise
        return error


class _BlockingTransport:
    """Coroutines that block."""

    def __init__(self, address: str) -> None:
        channel = grpc.insecure_channel(address, options=channel_options(address))
        self._channel = channel
        self._stub = attention_pb2_grpc.AttentionServiceStub(channel)
        self._streams = Streams(lambda: BlockingStream(channel))
        self._closed = False
        # A client that nobody closed is gone with its last user all the same.
        weakref.finalize(self, self._streams.close, _closed_meanwhile())

    async def send(self, rpc: str, request: Message, *, timeout: float) -> Any:
        return self._open(getattr(self._stub, rpc), request, timeout=timeout)

    def stream(self, *, needed: bool) -> BlockingStream | None:
        return self._open(self._streams.current, needed=needed)

    async def wait(self, future: Future[None], *, timeout: float) -> None:
        futures.wait([future], timeout)

    def close(self) -> None:
        self._closed = True
        self._streams.close(_closed_meanwhile())
        self._channel.close()

    def _open(
        self,
        use: Callable[Keywords, ResultT],
        /,
        *args: Keywords.args,
        **kwargs: Keywords.kwargs,
    ) -> ResultT:
        """Returns what comes of using the channel, while it is open."""
        if self._closed:
            raise ClientClosedError("the client is closed")
        try:
            return use(*args, **kwargs)
        except ValueError:  # gRPC's, where another thread closed the channel since the line above
            if not self._closed:
                raise
        raise ClientClosedError("the client is closed")  # here: the user sees no ValueError of gRPC


def _closed_meanwhile() -> RequestCancelledError:
    return RequestCancelledError("the client was closed meanwhile", code="CANCELLED")
