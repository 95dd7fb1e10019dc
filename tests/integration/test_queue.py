"""What waits: dropped when nobody wants it any more, refused when there is too much of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from attention_client import AsyncAttentionClient, RetryPolicy
from attention_server import EmbeddedServer
from attention_server.domain.errors import Abandoned
from attention_service.v1 import attention_pb2 as pb
from tests.integration.gate import Gate
from tests.messages import floats, sdpa
from tests.wire import Wire, refusal_of

ONE_WAITS = {"max_waiting_requests": 1}
KILOBYTES_WAIT = {"max_waiting_bytes": 1 << 16}


def of_length(query_len: int, *, width: int = 2) -> pb.AttendRequest:
    """Returns a request that the gate knows by its length."""
    return sdpa(query=floats(1, query_len, width), key=None, value=None)


def query(query_len: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ones((1, query_len, 2), np.float32)


def fill(wire: Wire, gate: Gate) -> None:
    """Sends one request that is computed and one that waits."""
    wire.begin("Attend", of_length(1))
    gate.wait_until_reached(1)
    wire.begin("Attend", of_length(2))
    gate.wait_until_taken(2)


@pytest.fixture
def start(gate: Gate) -> Iterator[Callable[..., str]]:
    """Starts servers of one engine thread, behind the gate; returns the address."""
    servers: list[EmbeddedServer] = []

    def start(**settings: Any) -> str:
        servers.append(EmbeddedServer(demo=False, engine_threads=1, **settings).start())
        return servers[-1].address

    yield start
    gate.open()
    for server in servers:
        server.close()


@pytest.mark.parametrize("way", ["cancelled", "disconnected", "out of time"])
def test_request_given_up_while_it_waits_never_reaches_the_engine(
    start: Callable[..., str], gate: Gate, way: str
) -> None:
    address = start()
    with Wire(address) as wire, Wire(address) as leaving:
        first = wire.begin("Attend", of_length(1))
        gate.wait_until_reached(1)
        given_up = leaving.begin("Attend", of_length(2), timeout=1 if way == "out of time" else 60)
        gate.wait_until_taken(2)
        if way == "cancelled":
            given_up.cancel()
        elif way == "disconnected":
            leaving.channel.close()
        gate.wait_until_settled(gate.jobs[1])

        gate.open()
        assert first.result()
        assert wire.answer("Attend", of_length(3))

    assert gate.reached == [1, 3]


def test_request_out_of_time_while_it_waits_is_told_so(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start()) as wire:
        wire.begin("Attend", of_length(1))
        gate.wait_until_reached(1)

        refusal = refusal_of(wire.begin("Attend", of_length(2), timeout=1))

    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("settings", "who_fit_then"),
    [(ONE_WAITS, [3]), (KILOBYTES_WAIT, [1, 1])],
    ids=["requests", "bytes"],
)
def test_place_of_a_request_given_up_is_free_again(
    start: Callable[..., str], gate: Gate, settings: dict[str, int], who_fit_then: list[int]
) -> None:
    width = 2000  # 8 kB a query, and as much for its answer: 16 + 32 kB fit, 32 more do not
    with Wire(start(**settings)) as wire:
        wire.begin("Attend", of_length(1, width=width))
        gate.wait_until_reached(1)
        given_up = wire.begin("Attend", of_length(2, width=width))
        gate.wait_until_taken(2)
        assert wire.refusal("Attend", of_length(2, width=width)).reason == "QUEUE_FULL"
        given_up.cancel()
        gate.wait_until_settled(gate.jobs[1])

        waiting = [wire.begin("Attend", of_length(n, width=width)) for n in who_fit_then]
        gate.wait_until_taken(2 + len(waiting))

        gate.open()
        for call in waiting:
            assert call.result()


@pytest.mark.parametrize("settings", [ONE_WAITS, KILOBYTES_WAIT], ids=["requests", "bytes"])
def test_place_of_a_request_computed_is_free_again(
    start: Callable[..., str], gate: Gate, settings: dict[str, int]
) -> None:
    gate.open()
    with Wire(start(**settings)) as wire:
        for _ in range(3):
            assert wire.answer("Attend", of_length(2, width=6000))


def test_request_that_finds_the_queue_full_is_told_when_to_come_back(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start(**ONE_WAITS)) as wire:
        fill(wire, gate)

        refusal = wire.refusal("Attend", of_length(3))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_FULL")
    assert refusal.retry_seconds is not None
    assert 0 < refusal.retry_seconds < 10


def test_client_comes_back_to_a_full_queue_until_there_is_space(
    ask: Callable[..., Any], start: Callable[..., str], gate: Gate
) -> None:
    address = start(**ONE_WAITS)
    patient = RetryPolicy(max_attempts=1000, max_backoff_seconds=0.1)
    with Wire(address) as wire, ThreadPoolExecutor() as threads:
        fill(wire, gate)

        asking = threads.submit(
            ask,
            address,
            lambda client: client.attend("sdpa", query(3), num_heads=2),
            retry=patient,
            timeout=60,
        )
        gate.wait_until_refused(2)
        gate.open()

        assert asking.result().output.shape == (1, 3, 2)


def test_describing_calls_are_answered_while_the_queue_is_full(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start(**ONE_WAITS)) as wire:
        fill(wire, gate)

        assert wire.answer("GetServerInfo", pb.GetServerInfoRequest())


def test_request_given_up_while_it_is_computed_stops_at_the_next_block(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start()) as wire:
        given_up = wire.begin("Attend", of_length(1))
        gate.wait_until_reached(1)
        given_up.cancel()
        gate.wait_until_abandoned(1)

        gate.open()

        assert isinstance(gate.jobs[0].answer.exception(60), Abandoned)


def test_request_given_up_while_it_is_computed_costs_nobody_else(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start()) as wire:
        given_up = wire.begin("Attend", of_length(1))
        gate.wait_until_reached(1)
        other = wire.begin("Attend", of_length(2))
        gate.wait_until_taken(2)
        given_up.cancel()

        gate.open()

        assert other.result()


async def test_cancelled_task_of_the_async_client_leaves_the_queue(
    start: Callable[..., str], gate: Gate
) -> None:
    async with AsyncAttentionClient(start()) as client:
        first = asyncio.create_task(client.attend("sdpa", query(1), num_heads=2))
        await asyncio.to_thread(gate.wait_until_reached, 1)
        given_up = asyncio.create_task(client.attend("sdpa", query(2), num_heads=2))
        await asyncio.to_thread(gate.wait_until_taken, 2)
        given_up.cancel()
        await asyncio.to_thread(gate.wait_until_settled, gate.jobs[1])
        gate.open()
        await first

    assert gate.reached == [1]


def test_waiting_requests_are_computed_in_the_order_in_which_they_came(
    start: Callable[..., str], gate: Gate
) -> None:
    with Wire(start()) as wire:
        calls = []
        for length in (1, 5, 2, 4, 3):
            calls.append(wire.begin("Attend", of_length(length)))
            gate.wait_until_taken(len(calls))
        gate.open()
        for call in calls:
            call.result()

    assert gate.reached == [1, 5, 2, 4, 3]


def test_time_in_the_queue_is_told(start: Callable[..., str], gate: Gate) -> None:
    with Wire(start()) as wire:
        wire.begin("Attend", of_length(1))
        gate.wait_until_reached(1)
        waiting = wire.begin("Attend", of_length(2))
        gate.wait_until_taken(2)
        gate.open()
        execution = pb.AttendResponse.FromString(waiting.result()).execution

    assert execution.queue_us > 0
