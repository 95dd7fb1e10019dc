"""The server's limits are read once, whoever asks first, and again before a refusal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    DeadlineExceededError,
    InternalServerError,
    LimitExceededError,
    RetryPolicy,
    ServerUnavailableError,
)
from attention_client._limits import Bounds
from attention_service.limits import Limits
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUICK = RetryPolicy(initial_backoff_seconds=0.01)
PATIENCE_SECONDS = 20
MANY = 8
TWO_LONG = [[[0.0], [0.0]]]


class Server:
    """Counts what arrives; answers with limits once it may, or fails as it is told to."""

    def __init__(self, serve: Serve, limits: pb.Limits | None = None) -> None:
        self.limits = limits
        self.failures: list[grpc.StatusCode] = []
        self.questions = 0
        self.answers = 0
        self.attended = 0
        self.time_left: list[float] = []
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._lock = threading.Lock()
        self.address = serve(GetServerInfo=self._info, Attend=self._attend)

    def _info(self, _: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        with self._lock:
            self.questions += 1
            failure = self.failures.pop(0) if self.failures else None
        self.asked.set()
        self.may_answer.wait(PATIENCE_SECONDS)
        self.answers += 1
        if failure is not None:
            context.abort(failure, "no")
        return pb.GetServerInfoResponse(limits=self.limits)

    def _attend(self, request: pb.AttendRequest, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.attended += 1
        self.time_left.append(context.time_remaining())
        return pb.AttendResponse()


def attend(client: Any) -> Any:
    return client.attend("m", TWO_LONG)


def when_waiting(client: Any, count: int, done: Callable[[], None]) -> None:
    """Calls ``done`` as soon as that many calls wait for another one's question."""
    transport, waiting, lock = client._transport, [0], threading.Lock()
    wait = transport.wait

    async def counted(future: Future[None], *, timeout: float) -> None:
        with lock:
            waiting[0] += 1
            if waiting[0] == count:
                done()
        await wait(future, timeout=timeout)

    transport.wait = counted


def test_threads_that_start_together_ask_once(serve: Serve) -> None:
    server = Server(serve, pb.Limits(length=2))
    server.may_answer.clear()
    with AttentionClient(server.address) as client, ThreadPoolExecutor(MANY) as threads:
        when_waiting(client, MANY - 1, server.may_answer.set)
        for done in [threads.submit(attend, client) for _ in range(MANY)]:
            done.result(PATIENCE_SECONDS)

    assert (server.questions, server.attended) == (1, MANY)


async def test_tasks_that_start_together_ask_once(serve: Serve) -> None:
    server = Server(serve, pb.Limits(length=2))
    server.may_answer.clear()
    async with AsyncAttentionClient(server.address) as client:
        when_waiting(client, MANY - 1, server.may_answer.set)
        await asyncio.gather(*(attend(client) for _ in range(MANY)))

    assert (server.questions, server.attended) == (1, MANY)


@pytest.mark.parametrize(
    "limits",
    [None, pb.Limits(), pb.Limits(message_bytes=1 << 16, batch=1, length=2, work=4)],
    ids=["no limits", "limits of 0", "wide limits"],
)
def test_what_is_within_the_limits_is_sent(
    serve: Serve, ask: Ask, limits: pb.Limits | None
) -> None:
    server = Server(serve, limits)

    ask(server.address, lambda client: client.attend("m", TWO_LONG, num_heads=1))

    assert (server.questions, server.attended) == (1, 1)


def test_server_that_does_not_tell_its_limits_is_asked_once(serve: Serve) -> None:
    server = Server(serve)
    server.failures = [grpc.StatusCode.UNIMPLEMENTED]
    with AttentionClient(server.address) as client:
        attend(client)
        attend(client)

    assert (server.questions, server.attended) == (1, 2)


@pytest.mark.parametrize(
    ("keywords", "limits"),
    [
        ({}, pb.Limits(stream_bytes=7)),
        ({}, pb.Limits(length=1)),
        ({"query": [[[0.0]], [[0.0]]]}, pb.Limits(batch=1)),
        ({"num_heads": 3}, pb.Limits(work=11)),
        ({"ablated_heads": [0, 0, 0]}, pb.Limits(length=2)),
    ],
    ids=["stream", "length", "batch", "work", "list"],
)
def test_models_whose_sizes_the_request_does_not_tell_have_limits_too(
    serve: Serve, ask: Ask, keywords: dict[str, Any], limits: pb.Limits
) -> None:
    server = Server(serve, limits)

    with pytest.raises(Exception, match="at most"):
        ask(server.address, lambda c: c.attend("m", **{"query": TWO_LONG, **keywords}))

    assert (server.questions, server.attended) == (1, 0)


def test_limits_are_read_again_before_a_refusal_and_kept(serve: Serve) -> None:
    server = Server(serve, pb.Limits(length=1))
    with AttentionClient(server.address) as client:
        client.attend("m", [[[0.0]]])
        with pytest.raises(LimitExceededError):
            attend(client)
        assert (server.questions, server.attended) == (2, 1)

        server.limits = pb.Limits(length=2)
        attend(client)
        attend(client)
        assert (server.questions, server.attended) == (3, 3)


def test_question_that_fails_is_the_calls_error_and_the_next_call_asks_again(serve: Serve) -> None:
    server = Server(serve)
    server.failures = [grpc.StatusCode.INTERNAL]
    with AttentionClient(server.address) as client:
        with pytest.raises(InternalServerError):
            attend(client)
        assert (server.questions, server.attended) == (1, 0)

        attend(client)

    assert (server.questions, server.attended) == (2, 1)


def test_question_is_tried_again_as_any_call(serve: Serve, ask: Ask) -> None:
    server = Server(serve)
    server.failures = [grpc.StatusCode.UNAVAILABLE] * 2

    ask(server.address, attend, retry=QUICK)

    assert (server.questions, server.attended) == (3, 1)


def test_question_is_given_up_as_any_call(serve: Serve, ask: Ask) -> None:
    server = Server(serve)
    server.failures = [grpc.StatusCode.UNAVAILABLE]

    with pytest.raises(ServerUnavailableError):
        ask(server.address, attend, retry=None)

    assert (server.questions, server.attended) == (1, 0)


def test_calls_time_is_for_the_question_too(serve: Serve, ask: Ask) -> None:
    server = Server(serve)
    server.may_answer.clear()

    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
        ask(server.address, lambda client: client.attend("m", TWO_LONG, timeout=0.2))

    server.may_answer.set()
    assert server.attended == 0


def test_what_the_question_took_is_gone_for_the_call(serve: Serve, ask: Ask) -> None:
    server = Server(serve)
    server.failures = [grpc.StatusCode.UNAVAILABLE]
    pause = RetryPolicy(initial_backoff_seconds=1)  # half a second at least

    ask(server.address, lambda client: client.attend("m", TWO_LONG, timeout=5), retry=pause)

    (left,) = server.time_left
    assert left < 4.7  # gRPC rounds up


def test_call_that_waits_for_anothers_question_keeps_its_own_time(serve: Serve) -> None:
    server = Server(serve)
    server.may_answer.clear()
    with AttentionClient(server.address) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(attend, client)
        server.asked.wait(PATIENCE_SECONDS)

        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            client.attend("m", TWO_LONG, timeout=0.2)

        assert server.answers == 0
        server.may_answer.set()
        first.result(PATIENCE_SECONDS)
    assert (server.questions, server.attended) == (1, 1)


def test_call_whose_time_is_over_leaves_the_question_to_the_others(serve: Serve) -> None:
    server = Server(serve)
    server.may_answer.clear()
    with AttentionClient(server.address) as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.attend, "m", TWO_LONG, timeout=0.5)
        server.asked.wait(PATIENCE_SECONDS)
        second = threads.submit(attend, client)

        assert isinstance(first.exception(PATIENCE_SECONDS), DeadlineExceededError)
        server.may_answer.set()
        second.result(PATIENCE_SECONDS)
    assert server.attended == 1


async def test_task_that_is_cancelled_leaves_the_question_to_the_others(serve: Serve) -> None:
    server = Server(serve)
    server.may_answer.clear()
    async with AsyncAttentionClient(server.address) as client:
        waiting = asyncio.Event()
        when_waiting(client, 1, waiting.set)
        first = asyncio.create_task(attend(client))
        await asyncio.to_thread(server.asked.wait, PATIENCE_SECONDS)
        second = asyncio.create_task(attend(client))
        await waiting.wait()

        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.may_answer.set()
        await second

    assert (server.questions, server.attended) == (2, 1)


def test_what_is_noted_of_requests_stays_small() -> None:
    limits = Limits(1, 1, 1, 1, 1)
    bounds = Bounds(limits, limits)
    for number in range(1000):
        bounds.admit(b"%d" % number)
        assert bounds.admits(b"%d" % number)
    bounds.admit(bytes(2000))

    assert not bounds.admits(bytes(2000))
    assert sum(bounds.admits(b"%d" % number) for number in range(1000)) <= 256


def test_request_that_was_within_is_no_reason_to_send_a_larger_one(serve: Serve, ask: Ask) -> None:
    server = Server(serve, pb.Limits(length=1))

    def question(client: Any) -> Any:
        if isinstance(client, AttentionClient):
            client.attend("m", [[[0.0]]])
            return client.attend("m", TWO_LONG)

        async def wait() -> Any:
            await client.attend("m", [[[0.0]]])
            return await client.attend("m", TWO_LONG)

        return wait()

    with pytest.raises(LimitExceededError, match="at most 1 long"):
        ask(server.address, question)
    assert server.attended == 1
