"""``attend`` over the stream that stays open underneath, and without one where there is none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    DeadlineExceededError,
    FieldViolation,
    ProtocolError,
    Reason,
    RequestCancelledError,
    RetryPolicy,
    ServerUnavailableError,
)
from attention_client.errors import CLASS_BY_REASON
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.handlers import info
from tests.unit.client.scripted_stream import (
    PATIENCE_SECONDS,
    ScriptedStream,
    announced,
    answer,
    echo,
    error,
    silence,
)

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUICK = RetryPolicy(initial_backoff_seconds=0.01)


def attend(client: Any, **keywords: Any) -> Any:
    return client.attend("m", [[[0.0]]], **keywords)


def twice(client: Any) -> Any:
    """Returns the models that answered two calls, one after the other."""
    if isinstance(client, AttentionClient):
        return [attend(client).model, attend(client).model]

    async def ask() -> Any:
        return [(await attend(client)).model, (await attend(client)).model]

    return ask()


def test_calls_share_one_stream(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, echo)

    assert ask(server.address, twice) == ["m", "m"]
    assert (server.streams, server.unary, len(server.messages)) == (1, 0, 2)


def test_threads_share_one_stream(serve: Serve) -> None:
    def by_name(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        yield answer(message, float(message.request_id))

    server = ScriptedStream(serve, by_name)
    with AttentionClient(server.address) as client, ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda i: attend(client, request_id=str(i)), range(100))

        assert [float(result.output[0, 0, 0]) for result in results] == list(range(100))
    assert server.streams == 1


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL]
)
def test_where_no_stream_passes_calls_go_one_by_one(
    serve: Serve, ask: Ask, code: grpc.StatusCode
) -> None:
    def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from ()
        context.abort(code, "no streams")

    server = ScriptedStream(serve, refuse)

    assert ask(server.address, twice, retry=None) == ["unary", "unary"]
    assert (server.streams, server.unary) == (1, 2)


def test_request_whose_stream_breaks_is_sent_again_on_another(serve: Serve, ask: Ask) -> None:
    def breaking(message: pb.AttendStreamRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        if len(server.messages) == 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield answer(message)

    server = ScriptedStream(serve, breaking)

    assert ask(server.address, twice, retry=QUICK) == ["m", "m"]
    assert (server.streams, server.unary, len(server.messages)) == (2, 0, 3)


def test_broken_stream_is_an_unavailable_server_where_nothing_is_retried(
    serve: Serve, ask: Ask
) -> None:
    def breaking(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from ()
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server = ScriptedStream(serve, breaking)

    with pytest.raises(ServerUnavailableError, match="gone") as caught:
        ask(server.address, attend, retry=None)

    assert caught.value.__context__ is None
    assert (len(server.messages), server.unary) == (1, 0)


def test_stream_that_breaks_leaves_no_thread(serve: Serve) -> None:
    def breaking(message: pb.AttendStreamRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        yield answer(message)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def started() -> set[threading.Thread]:
        others = (thread for thread in threading.enumerate() if thread not in before)
        return {thread for thread in others if "ThreadPool" not in thread.name}  # the server's

    server = ScriptedStream(serve, breaking)
    before = threading.enumerate()
    with AttentionClient(server.address, retry=QUICK) as client:
        for broken in range(1, 4):
            attend(client)
            until = time.monotonic() + PATIENCE_SECONDS
            while client._transport._streams._latest.is_open and time.monotonic() < until:  # type: ignore[union-attr]
                time.sleep(0.01)
            assert server.streams == broken
        until = time.monotonic() + PATIENCE_SECONDS
        while started() and time.monotonic() < until:
            time.sleep(0.01)

        assert started() == set()


def test_stream_that_breaks_amid_an_answer_leaves_nothing_of_it(serve: Serve, ask: Ask) -> None:
    def torn(message: pb.AttendStreamRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        if len(server.messages) == 1:
            yield announced(message, (1, 1, 2), b"1234")
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield answer(message, 7.0)

    server = ScriptedStream(serve, torn)

    result = ask(server.address, attend, retry=QUICK)

    assert result.output.tolist() == [[[7.0]]]


@pytest.mark.parametrize("reason", Reason)
def test_error_of_one_request_is_the_error_of_its_call(
    serve: Serve, ask: Ask, reason: Reason
) -> None:
    wrong = pb.FieldViolation(field="query", description="too wrong")

    def refuse(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        code = grpc.StatusCode.FAILED_PRECONDITION
        yield error(message, code, reason.value, violations=[wrong])

    server = ScriptedStream(serve, refuse)

    if reason is Reason.NOT_IMPLEMENTED:  # as a message it may be
        assert ask(server.address, attend).model == "unary"
        return
    with pytest.raises(CLASS_BY_REASON[reason], match="what was wrong") as caught:
        ask(server.address, attend, retry=None)

    assert type(caught.value) is CLASS_BY_REASON[reason]
    assert caught.value.reason is reason
    assert caught.value.code == "FAILED_PRECONDITION"
    assert caught.value.violations == (FieldViolation("query", "too wrong"),)


def test_busy_server_is_asked_again_when_it_says(serve: Serve, ask: Ask) -> None:
    def busy_once(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if len(server.messages) > 1:
            yield answer(message)
            return
        later = Duration(nanos=300_000_000)
        code = grpc.StatusCode.UNAVAILABLE
        yield error(message, code, "QUEUE_FULL", retry_after=later)

    server = ScriptedStream(serve, busy_once)
    started = time.monotonic()

    assert ask(server.address, attend, retry=QUICK).model == "m"
    assert time.monotonic() - started >= 0.3
    assert server.streams == 1


def test_server_that_shuts_down_is_asked_on_another_stream(serve: Serve, ask: Ask) -> None:
    def closing_once(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if len(server.messages) > 1:
            yield answer(message)
        else:
            yield error(message, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")

    server = ScriptedStream(serve, closing_once)

    assert ask(server.address, attend, retry=QUICK).model == "m"
    assert server.streams == 2


def test_call_on_a_stream_ends_at_its_timeout(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, silence)

    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s") as caught:
        ask(server.address, lambda client: attend(client, timeout=0.2))

    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert 0 < server.messages[0].timeout.ToTimedelta().total_seconds() <= 0.2


def test_call_whose_time_is_over_is_given_up_alone(serve: Serve) -> None:
    def reluctant(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if message.request_id != "first":
            yield answer(message)

    server = ScriptedStream(serve, reluctant)
    with AttentionClient(server.address) as client:
        attend(client)
        with pytest.raises(DeadlineExceededError):
            attend(client, timeout=0.2, request_id="first")
        attend(client)

    assert server.cancelled == ["first"]
    assert (server.streams, server.unary) == (1, 0)


def test_calls_go_one_by_one_where_a_stream_was_silent_until_a_calls_time_was_over(
    serve: Serve, ask: Ask
) -> None:
    def held_back(messages: Iterator[Any], _: Any) -> Iterator[Any]:
        yield from [answer(message) for message in messages if message.HasField("request")]

    def unary(*_: Any) -> pb.AttendResponse:
        return pb.AttendResponse(model="unary")

    def question(client: Any) -> Any:
        if isinstance(client, AttentionClient):
            with pytest.raises(DeadlineExceededError):
                attend(client, timeout=0.2)
            return twice(client)

        async def wait() -> Any:
            with pytest.raises(DeadlineExceededError):
                await attend(client, timeout=0.2)
            await asyncio.sleep(0.2)  # the stream has ended by then
            return await twice(client)

        return wait()

    address = serve(AttendStream=held_back, Attend=unary, GetServerInfo=info)

    assert ask(address, question) == ["unary", "unary"]


def test_call_on_a_stream_ends_when_the_client_is_closed(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)
    client = AttentionClient(server.address)

    def close() -> None:
        server.arrived.wait(PATIENCE_SECONDS)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(RequestCancelledError, match="closed") as caught:
        attend(client)
    closing.join()
    assert caught.value.code == "CANCELLED"


async def test_async_call_on_a_stream_ends_when_the_client_is_closed(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)
    client = AsyncAttentionClient(server.address)
    task = asyncio.create_task(attend(client))
    await asyncio.to_thread(server.arrived.wait, PATIENCE_SECONDS)

    await client.close()

    with pytest.raises(RequestCancelledError, match="closed") as caught:
        await task
    assert caught.value.code == "CANCELLED"


async def test_cancelled_task_gives_up_its_request_alone(serve: Serve) -> None:
    def reluctant(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if message.request_id != "first":
            yield answer(message)

    server = ScriptedStream(serve, reluctant)
    async with AsyncAttentionClient(server.address) as client:
        task = asyncio.create_task(attend(client, request_id="first"))
        await asyncio.to_thread(server.arrived.wait, PATIENCE_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await attend(client)

    assert server.cancelled == ["first"]
    assert server.streams == 1


def test_request_id_names_the_request_where_a_stream_can_carry_it(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, echo)

    for request_id in ("mine", "", "für mich"):
        result = ask(server.address, partial(attend, request_id=request_id))
        assert result.request_id == request_id
    assert [message.request_id for message in server.messages] == ["mine", "1", "1"]


async def test_requests_of_one_name_are_told_apart(serve: Serve) -> None:
    def by_name(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        yield answer(message, message.request.heads.num_heads)

    server = ScriptedStream(serve, by_name)
    async with AsyncAttentionClient(server.address) as client:
        asked = [attend(client, request_id="same", num_heads=heads) for heads in range(1, 5)]
        results = await asyncio.gather(*asked)

    assert [result.output[0, 0, 0] for result in results] == [1, 2, 3, 4]
    assert {result.request_id for result in results} == {"same"}


def test_late_answer_to_a_request_that_was_given_up_answers_no_other(serve: Serve) -> None:
    def late(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if len(server.messages) == 1:
            yield answer(message)
        if len(server.messages) == 3:
            yield answer(server.messages[1], 1.0)
            yield answer(message, 2.0)

    server = ScriptedStream(serve, late)
    with AttentionClient(server.address) as client:
        attend(client)
        with pytest.raises(DeadlineExceededError):
            attend(client, timeout=0.2, request_id="same")
        result = attend(client, request_id="same")

    assert result.output.tolist() == [[[2.0]]]
    assert result.request_id == "same"


def test_bytes_that_are_no_message_end_the_stream(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)
    with AttentionClient(server.address) as client, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(attend, client)
        server.arrived.wait(PATIENCE_SECONDS)
        client._transport._streams.current(needed=True)._received(b"\xff")  # type: ignore[union-attr]

        with pytest.raises(ProtocolError, match="no message"):
            asked.result(PATIENCE_SECONDS)
