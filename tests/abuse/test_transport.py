"""Each option of the server's channels does what is said of it, made short or small for a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    PingAckReceived,
    PingReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
)
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame

from attention_client import AttentionClient
from attention_server import EmbeddedServer
from attention_server.edge import transport
from attention_server.edge.describe import DescribeHandlers
from attention_server.scheduling.budget import Budget
from tests.abuse.peer import PREFACE, Peer, PolitePeer, message
from tests.messages import floats, sdpa
from tests.wire import Wire

SOON_MS = 300
NEVER_MS = 3_600_000
PATIENCE_SECONDS = 30


def set_options(monkeypatch: pytest.MonkeyPatch, **options: int) -> None:
    for name, value in options.items():
        monkeypatch.setattr(transport, name, value)


def greet(peer: Peer) -> None:
    peer.greet()


def call(peer: Peer) -> None:
    peer.greet()
    peer.send(peer.headers())


@pytest.mark.parametrize(
    ("option", "act"),
    [
        ("HANDSHAKE_MS", lambda peer: None),
        ("HANDSHAKE_MS", lambda peer: peer.send(PREFACE[:12])),
        ("HANDSHAKE_MS", lambda peer: peer.send(PREFACE)),
        ("IDLE_MS", greet),
        ("KEEPALIVE_MS", greet),
        ("KEEPALIVE_MS", call),
    ],
    ids=[
        "nothing said",
        "half a preface",
        "a preface alone",
        "no calls",
        "no sign of life",
        "no sign of life during a call",
    ],
)
def test_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch, option: str, act: Callable[[Peer], None]
) -> None:
    times = dict.fromkeys(("HANDSHAKE_MS", "IDLE_MS", "AGE_MS", "KEEPALIVE_MS"), NEVER_MS)
    set_options(monkeypatch, **{**times, option: SOON_MS, "PING_TIMEOUT_MS": SOON_MS})

    with EmbeddedServer(demo=False) as server, Peer(server.address) as peer:
        act(peer)
        peer.wait_until_closed()


def test_peer_that_gives_a_sign_of_life_keeps_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    set_options(monkeypatch, KEEPALIVE_MS=SOON_MS, PING_TIMEOUT_MS=SOON_MS)

    with EmbeddedServer(demo=False) as server, PolitePeer(server.address) as peer:
        peer.call()
        peer.flush()
        pings = (event for event in peer.events() if isinstance(event, PingReceived))

        assert [next(pings, None) is not None for _ in range(4)] == [True] * 4


def test_peer_that_asks_for_signs_of_life_too_often_is_sent_away() -> None:
    with EmbeddedServer(demo=False) as server, PolitePeer(server.address) as peer:
        for _ in range(10):
            peer.http.ping(b"12345678")
        peer.flush()
        ends = [event for event in peer.events() if isinstance(event, ConnectionTerminated)]

    assert [event.error_code for event in ends] == [ErrorCodes.ENHANCE_YOUR_CALM]


def test_pings_of_a_client_that_keeps_to_the_interval_are_welcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_options(monkeypatch, MIN_PING_INTERVAL_MS=1)
    with EmbeddedServer(demo=False) as server, PolitePeer(server.address) as peer:
        events = peer.events()
        for _ in range(10):
            time.sleep(0.002)  # the interval
            peer.http.ping(b"12345678")
            peer.flush()
            acknowledged = any(isinstance(event, PingAckReceived) for event in events)

            assert acknowledged


def test_calls_beyond_the_limit_of_a_connection_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_options(monkeypatch, MAX_CALLS_OF_A_CONNECTION=3)
    with EmbeddedServer(demo=False) as server, PolitePeer(server.address) as peer:
        for _ in range(5):
            peer.call()  # before it hears of the limit
        peer.flush()
        told, refused = 0, 0
        for event in peer.events():
            if isinstance(event, RemoteSettingsChanged):
                told = event.changed_settings[SettingCodes.MAX_CONCURRENT_STREAMS].new_value
            refused += isinstance(event, StreamReset)
            if refused == 2:
                break

    assert told == 3


def test_connections_beyond_the_limit_are_closed_until_one_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_options(monkeypatch, MAX_CONNECTIONS=2, HANDSHAKE_MS=NEVER_MS)
    with EmbeddedServer(demo=False) as server, Wire(server.address) as wire:
        assert wire.health()
        with Peer(server.address) as second:
            greet(second)
            with Peer(server.address) as third:
                third.wait_until_closed()
            assert wire.health()
        with AttentionClient(server.address) as client:
            client.server_info()  # tried again until there is a place


def test_calls_that_nobody_takes_in_time_are_ended_beyond_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_options(monkeypatch, CALLS_TO_BE_TAKEN=0, CALLS_TO_BE_TAKEN_AT_MOST=1)
    with EmbeddedServer(demo=False) as server, PolitePeer(server.address) as peer:
        for _ in range(50):
            peer.call()
        peer.flush()

        assert any(isinstance(event, StreamReset | ResponseReceived) for event in peer.events())


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The connection of each call of GetServerInfo."""
    peers: list[str] = []
    answer = DescribeHandlers.get_server_info

    async def watched(handlers: DescribeHandlers, data: bytes, context: Any) -> bytes:
        peers.append(context.peer())
        return await answer(handlers, data, context)

    monkeypatch.setattr(DescribeHandlers, "get_server_info", watched)
    return peers


def test_connection_closed_while_idle_is_never_seen_by_a_caller(
    monkeypatch: pytest.MonkeyPatch, connections: list[str]
) -> None:
    set_options(monkeypatch, IDLE_MS=150)
    pauses = np.random.default_rng(0).uniform(0.1, 0.4, 20)
    with (
        EmbeddedServer(demo=False) as server,
        AttentionClient(server.address, retry=None) as client,
    ):
        for pause in pauses:  # shorter and longer than the server waits, some just as long
            time.sleep(pause)
            client.server_info()

    assert len(connections) == len(pauses)  # what is sent again was never taken before
    assert len(set(connections)) > 2


def test_connection_replaced_for_its_age_is_never_seen_by_a_caller(
    monkeypatch: pytest.MonkeyPatch, connections: list[str]
) -> None:
    set_options(monkeypatch, AGE_MS=100, AGE_GRACE_MS=NEVER_MS)
    with (
        EmbeddedServer(demo=False) as server,
        AttentionClient(server.address, retry=None) as client,
    ):
        calls, end = 0, time.monotonic() + PATIENCE_SECONDS
        while len(set(connections)) < 4 and time.monotonic() < end:
            client.server_info()
            calls += 1

    assert len(set(connections)) == 4
    assert len(connections) == calls  # what is sent again was never taken before


def test_answer_that_nobody_reads_is_held_until_its_connection_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_options(monkeypatch, AGE_MS=SOON_MS, AGE_GRACE_MS=SOON_MS, KEEPALIVE_MS=NEVER_MS)
    released: list[int] = []
    over = threading.Event()
    give_back = Budget.give_back

    def watched(budget: Budget, call: object) -> int:
        held = give_back(budget, call)
        released.append(budget.held_bytes)
        over.set()
        return held

    monkeypatch.setattr(Budget, "give_back", watched)
    request = sdpa(query=floats(1, 512, 2), key=None, value=None)
    request.outputs.weights.SetInParent()  # 2 MiB, and HTTP/2 begins with room for 64 KiB
    body = message(request.SerializeToString())
    with EmbeddedServer(demo=False) as server, Peer(server.address) as peer:
        peer.greet()
        headers = peer.headers()
        peer.send(headers, DataFrame(headers.stream_id, body, flags=["END_STREAM"]))
        peer.wait_until_closed()
        assert over.wait(PATIENCE_SECONDS), "the answer is still held"

    assert released == [0]
