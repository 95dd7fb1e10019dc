"""Many requests over one stream: in order, ahead of the answers, each with its own outcome."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from attention_client import (
    AsyncAttentionClient,
    AttendCall,
    AttentionClient,
    AttentionError,
    ClientClosedError,
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    RequestCancelledError,
    RetryPolicy,
)
from attention_server import EmbeddedServer
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.scripted_stream import (
    PATIENCE_SECONDS,
    ScriptedStream,
    answer,
    echo,
    error,
    silence,
)

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUICK = RetryPolicy(initial_backoff_seconds=0.01)
QUERY = np.zeros((1, 1, 1), np.float32)


def named(names: Iterable[Any], **keywords: Any) -> Iterator[dict[str, Any]]:
    """Yields a call a name, which stands for its model."""
    return ({"model": str(name), "query": QUERY, **keywords} for name in names)


def many(calls: Any, **keywords: Any) -> Callable[[Any], Any]:
    """Returns a question to either client for all results in a list."""

    def ask(client: Any) -> Any:
        results = client.attend_many(calls, **keywords)
        return list(results) if isinstance(client, AttentionClient) else gathered(results)

    async def gathered(results: Any) -> list[Any]:
        return [result async for result in results]

    return ask


def test_results_come_in_the_order_of_the_calls(serve: Serve, ask: Ask) -> None:
    def in_pairs(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if len(server.messages) % 2 == 0:
            yield answer(message)
            yield answer(server.messages[-2])

    server = ScriptedStream(serve, in_pairs)

    results = ask(server.address, many(named(range(100))))

    assert [result.model for result in results] == [str(i) for i in range(100)]
    assert (server.streams, server.unary) == (1, 0)


def test_every_result_is_that_of_attend(ask: Ask) -> None:
    random = np.random.default_rng(0)
    calls = [
        AttendCall("sdpa", random.standard_normal((1, length, 8), np.float32), num_heads=2)
        for length in range(1, 60)
    ]
    with EmbeddedServer(demo=False) as server:
        results = ask(server.address, many(calls))
        with AttentionClient(server.address) as client:
            alone = [client.attend("sdpa", call.query, num_heads=2) for call in calls]

    for result, one in zip(results, alone, strict=True):
        assert one.output is not None
        np.testing.assert_allclose(result.output, one.output, atol=1e-6)


def test_calls_may_be_dictionaries_or_values(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, echo)
    calls = [{"model": "a", "query": QUERY}, AttendCall("b", QUERY), *named("c")]

    results = ask(server.address, many(calls))

    assert [result.model for result in results] == ["a", "b", "c"]


@pytest.mark.parametrize(("in_flight", "sent"), [(1, 1), (5, 5), (1000, 100)])
def test_as_many_are_sent_ahead_as_allowed(
    serve: Serve, ask: Ask, in_flight: int, sent: int
) -> None:
    taken: list[int] = []

    def calls() -> Iterator[dict[str, Any]]:
        for call in named(range(100), timeout=0.5):
            taken.append(1)
            yield call

    server = ScriptedStream(serve, silence)

    with pytest.raises(DeadlineExceededError):
        ask(server.address, many(calls(), in_flight=in_flight))

    assert len(server.messages) == sent
    assert len(taken) <= sent + 1


def test_fewer_large_requests_are_sent_ahead(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, silence)
    large = np.broadcast_to(np.float32(0), (1, 1 << 10, 1 << 12))  # 16 MiB
    calls = [{"model": "m", "query": large, "timeout": 1}] * 5

    with pytest.raises(DeadlineExceededError):
        ask(server.address, many(calls))

    assert len({message.request_id for message in server.messages}) == 2


def test_nothing_is_sent_before_a_result_is_asked_for(serve: Serve) -> None:
    server = ScriptedStream(serve, echo)
    with AttentionClient(server.address) as client:
        client.attend_many(named("a"))
        client.attend("b", QUERY)

    assert [message.request.model for message in server.messages] == ["b"]


def not_found(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
    """Has no model called "wrong"."""
    if message.request.model == "wrong":
        yield error(message, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    else:
        yield answer(message)


def test_error_is_raised_in_its_place(serve: Serve) -> None:
    server = ScriptedStream(serve, not_found)
    with AttentionClient(server.address) as client:
        results = client.attend_many(named(["a", "b", "wrong", "c"]))

        assert [next(results).model, next(results).model] == ["a", "b"]
        with pytest.raises(ModelNotFoundError, match="what was wrong"):
            next(results)
        assert list(results) == []
        assert client.attend("d", QUERY).model == "d"


def test_error_may_stand_in_place_of_the_result(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, not_found)
    flat = {"model": "flat", "query": [1.0]}

    results = ask(
        server.address, many([*named(["a", "wrong"]), flat, *named("b")], errors="return")
    )

    assert [type(result).__name__ for result in results] == [
        "AttendResult",
        "ModelNotFoundError",
        "InvalidRequestError",
        "AttendResult",
    ]
    assert results[3].model == "b"


def test_mistake_of_the_program_is_raised_in_its_place(serve: Serve) -> None:
    server = ScriptedStream(serve, echo)
    with AttentionClient(server.address) as client:
        results = client.attend_many([*named("a"), {"model": "m", "qery": QUERY}], errors="return")

        assert isinstance(next(results), object)
        with pytest.raises(TypeError, match="qery"):
            next(results)


def test_only_unanswered_requests_of_a_broken_stream_are_sent_again(serve: Serve, ask: Ask) -> None:
    def breaking(message: pb.AttendStreamRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        if server.streams == 1 and len(server.messages) == 9:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield answer(message)

    server = ScriptedStream(serve, breaking)

    calls = [{"model": str(i), "query": QUERY, "request_id": str(i)} for i in range(20)]
    results = ask(server.address, many(calls, in_flight=4), retry=QUICK)

    assert [result.request_id for result in results] == [str(i) for i in range(20)]
    sent = [message.request.model for message in server.messages]
    assert [sent.count(str(i)) for i in range(5)] == [1] * 5  # answered: later ones were sent
    assert server.streams == 2


def test_where_no_stream_passes_all_are_answered_too(serve: Serve, ask: Ask) -> None:
    def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from ()
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")

    server = ScriptedStream(serve, refuse)

    results = ask(server.address, many(named(range(50))))

    assert [result.model for result in results] == ["unary"] * 50


def test_timeout_is_that_of_each_request(serve: Serve, ask: Ask) -> None:
    server = ScriptedStream(serve, echo)
    calls = [*named("a"), *named("b", timeout=200)]

    ask(server.address, many(calls, timeout=100))

    seconds = [message.timeout.ToTimedelta().total_seconds() for message in server.messages]
    assert seconds == pytest.approx([100, 200], abs=5)


def test_loop_that_ends_early_gives_up_what_was_sent_ahead(serve: Serve) -> None:
    def first_only(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if message.request.model in ("0", "after"):
            yield answer(message)

    server = ScriptedStream(serve, first_only)
    with AttentionClient(server.address) as client:
        for result in client.attend_many(named(range(4)), in_flight=3):
            assert result.model == "0"
            break
        client.attend("after", QUERY)

    assert len(server.cancelled) == len(server.messages) - 2


async def test_async_loop_that_ends_early_gives_up_what_was_sent_ahead(serve: Serve) -> None:
    def first_only(message: pb.AttendStreamRequest, _: Any) -> Iterator[Any]:
        if message.request.model in ("0", "after"):
            yield answer(message)

    server = ScriptedStream(serve, first_only)
    async with AsyncAttentionClient(server.address) as client:
        results = client.attend_many(named(range(4)), in_flight=3)
        assert (await anext(results)).model == "0"
        await results.aclose()  # type: ignore[attr-defined]  # as the end of a loop does, later
        await client.attend("after", QUERY)

    assert len(server.cancelled) == len(server.messages) - 2


async def test_async_loop_that_ends_early_leaves_no_error_untold(serve: Serve) -> None:
    untold: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
    server = ScriptedStream(serve, not_found)
    async with AsyncAttentionClient(server.address) as client:
        results = client.attend_many(named(["a", "wrong", "wrong", "a"]))
        await anext(results)
        await client.attend("b", QUERY)  # answered after those
        await results.aclose()  # type: ignore[attr-defined]  # as the end of a loop does, later
        del results
    gc.collect()

    assert untold == []


def test_requests_on_their_way_end_when_the_client_is_closed(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)
    client = AttentionClient(server.address)

    def close() -> None:
        server.arrived.wait(PATIENCE_SECONDS)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    outcomes = list(client.attend_many(named(range(2)), errors="return"))
    closing.join()

    assert {type(outcome) for outcome in outcomes} <= {RequestCancelledError, ClientClosedError}


async def test_cancelled_task_is_a_cancelled_task(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)
    async with AsyncAttentionClient(server.address) as client:
        task = asyncio.create_task(many(named(range(5)), errors="return")(client))
        await asyncio.to_thread(server.arrived.wait, PATIENCE_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("keywords", "at"),
    [
        ({"errors": "ignore"}, "errors"),
        ({"in_flight": 0}, "in_flight"),
        ({"timeout": 0}, "timeout"),
    ],
)
@pytest.mark.parametrize("client", [AttentionClient, AsyncAttentionClient])
def test_what_cannot_be_meant_is_refused_at_once(
    client: Callable[[str], Any], keywords: dict[str, Any], at: str
) -> None:
    with pytest.raises(InvalidRequestError, match=at):
        client("localhost:1").attend_many([], **keywords)


def test_no_calls_have_no_results(serve: Serve, ask: Ask) -> None:
    assert ask(serve(), many([])) == []


def test_errors_that_are_returned_are_errors_of_the_sdk(serve: Serve, ask: Ask) -> None:
    (outcome,) = ask(serve(), many(named("a"), errors="return"))

    assert isinstance(outcome, AttentionError)
