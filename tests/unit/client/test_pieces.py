"""Requests and answers that travel over a stream in pieces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from attention_client import AttentionClient, LimitExceededError, ProtocolError
from attention_service.reasons import DOMAIN
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.handlers import info
from tests.unit.client.scripted_stream import (
    PATIENCE_SECONDS,
    ScriptedStream,
    announced,
    answer,
    chunk,
)

Ask = Callable[..., Any]
Serve = Callable[..., str]


def attend(client: Any, **keywords: Any) -> Any:
    return client.attend("m", [[[0.0]]], **keywords)


def test_answer_in_chunks_is_put_together(serve: Serve, ask: Ask) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    data = numbers.tobytes()

    def in_chunks(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        yield announced(message, (1, 2, 3), data[:5])
        yield chunk(message, "output", data[5:6])
        yield chunk(message, "output", data[6:])

    output = ask(ScriptedStream(serve, in_chunks).address, attend).output

    np.testing.assert_array_equal(output, numbers)
    assert output.dtype == np.float32
    assert not output.flags.writeable


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (lambda m: [chunk(m, "output", b"1")], "before the answer"),
        (lambda m: [announced(m, (1, 1, 1), b"12345")], "has 4 bytes, but 5 came"),
        (
            lambda m: [announced(m, (1, 1, 1)), chunk(m, "output", b"12345")],
            "has 4 bytes, but 5 came",
        ),
        (lambda m: [announced(m, (1, 1, 1)), chunk(m, "weights", b"1")], "no 'weights'"),
        (lambda m: [announced(m, (0,))], "no tensor"),
        (lambda m: [announced(m, (2**31 - 1,) * 4)], "no tensor"),
        (lambda m: [pb.AttendStreamResponse(request_id=m.request_id)], "before the answer"),
    ],
    ids=["chunk first", "too much", "chunk too much", "other", "empty", "beyond memory", "nothing"],
)
def test_answer_that_contradicts_itself_is_given_up_and_harms_no_other(
    serve: Serve, parts: Callable[..., Any], says: str
) -> None:
    def script(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        yield from parts(message) if message.request_id == "wrong" else [answer(message)]

    server = ScriptedStream(serve, script)

    with AttentionClient(server.address) as client:
        with pytest.raises(ProtocolError, match=says):
            attend(client, request_id="wrong")
        attend(client)

    assert server.cancelled == ["wrong"]
    assert server.streams == 1


@pytest.mark.parametrize("message_bytes", [0, 1 << 12], ids=["usual", "small messages"])
def test_large_request_travels_in_pieces_that_fit(
    serve: Serve, ask: Ask, message_bytes: int
) -> None:
    query = np.arange(600_000, dtype=np.float32).reshape(1, 2, 300_000)
    bias = np.asfortranarray(np.arange(4, dtype=np.float64).reshape(2, 2))
    last = "mask.attn_bias"
    pieces: dict[str, bytes] = {}

    def collect(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if message.HasField("chunk"):
            so_far = pieces.get(message.chunk.field, b"")
            pieces[message.chunk.field] = so_far + message.chunk.data
        if message.chunk.field == last:
            yield answer(message)

    server = ScriptedStream(serve, collect, pb.Limits(message_bytes=message_bytes))

    ask(server.address, lambda client: client.attend("m", query, attn_bias=bias))

    head, *chunks = server.messages
    assert head.chunked
    assert list(head.request.query.shape) == [1, 2, 300_000]
    assert not head.request.query.data
    assert pieces == {"query": query.tobytes(), last: bias.astype(np.float32).tobytes()}
    most = (message_bytes or 1 << 21) // 2
    assert max(len(message.chunk.data) for message in chunks) == most


def test_small_request_overtakes_a_large_one(serve: Serve) -> None:
    large = np.broadcast_to(np.float32(0), (1, 64, 1 << 18))  # 64 MiB
    order: list[str] = []

    def script(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        order.append(message.request_id)
        small.set()
        if message.request_id == "small" or order.count("large") == 65:
            yield answer(message)

    small = threading.Event()
    server = ScriptedStream(serve, script)
    with AttentionClient(server.address) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.attend, "m", large, request_id="large")
        small.wait(PATIENCE_SECONDS)
        attend(client, request_id="small")
        first.result(PATIENCE_SECONDS)

    assert order.index("small") < len(order) - 1


def test_few_requests_are_sent_in_pieces_at_a_time(serve: Serve) -> None:
    large = np.broadcast_to(np.float32(0), (1, 3, 1 << 18))  # 3 MiB
    begun: dict[str, int] = {}
    most = 0

    def script(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        nonlocal most
        begun[message.request_id] = begun.get(message.request_id, 0) + 1
        if begun[message.request_id] == 4:
            del begun[message.request_id]
            yield answer(message)
        most = max(most, len(begun))

    server = ScriptedStream(serve, script)
    with AttentionClient(server.address) as client:
        calls = ({"model": "m", "query": large} for _ in range(10))
        assert len(list(client.attend_many(calls))) == 10

    assert 1 < most <= 4


def answer_limit(_: pb.AttendRequest, context: grpc.ServicerContext) -> pb.AttendResponse:
    """Refuses an answer that is too large for a message."""
    code = grpc.StatusCode.INVALID_ARGUMENT
    status = status_pb2.Status(code=code.value[0], message="too large")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ANSWER_LIMIT", domain=DOMAIN))
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, "too large")
    raise AssertionError


@pytest.mark.parametrize("refused", [1, 9], ids=["a stream passes now", "no stream passes"])
def test_answer_too_large_for_a_message_is_asked_for_on_a_stream(
    serve: Serve, ask: Ask, refused: int
) -> None:
    streams: list[int] = []
    calls: list[int] = []

    def stream(messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        streams.append(1)
        if len(streams) <= refused:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")
        yield from map(answer, messages)

    def unary(request: pb.AttendRequest, context: grpc.ServicerContext) -> pb.AttendResponse:
        calls.append(1)
        if len(calls) > 1:
            return answer_limit(request, context)
        return pb.AttendResponse(model="unary")

    address = serve(AttendStream=stream, Attend=unary, GetServerInfo=info)
    two: Any = {"calls": [{"model": "m", "query": [[[0.0]]]}] * 2, "in_flight": 1}

    def question(client: Any) -> Any:
        results = client.attend_many(**two)
        if isinstance(client, AttentionClient):
            return [result.model for result in results]

        async def gathered() -> Any:
            return [result.model async for result in results]

        return gathered()

    if refused == 1:
        assert ask(address, question) == ["unary", "m"]
    else:
        with pytest.raises(LimitExceededError, match="too large"):
            ask(address, question)
    assert len(streams) == 2
