"""The server inside another program: begins and ends with its block, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import socket
import threading
from typing import Any

import pytest

from attention_client import AsyncAttentionClient, AttentionClient, ServerUnavailableError
from attention_server import EmbeddedServer
from attention_server.settings import SettingsError


def threads() -> int:
    """Returns the number of threads that belong to a server."""
    ours = ("attention-server", "engine-", "edge")
    return sum(thread.name.startswith(ours) for thread in threading.enumerate())


def test_address_is_where_clients_find_it() -> None:
    with EmbeddedServer() as server, AttentionClient(server.address) as client:
        assert client.server_info().version


def test_port_is_closed_at_the_end_of_the_block() -> None:
    with EmbeddedServer() as server:
        address = server.address

    with AttentionClient(address, retry=None) as client, pytest.raises(ServerUnavailableError):
        client.server_info()


def test_threads_end_with_the_block() -> None:
    before = threads()

    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        client.attend("sdpa", [[[1.0]]], num_heads=1)
        assert threads() > before

    assert threads() == before


def test_server_starts_and_closes_without_a_block() -> None:
    server = EmbeddedServer(demo=False).start()
    with AttentionClient(server.address) as client:
        assert client.server_info().version

    server.close()
    server.close()
    with (
        AttentionClient(server.address, retry=None) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.server_info()


def test_server_that_serves_is_not_started_again() -> None:
    with EmbeddedServer(demo=False) as server:
        with pytest.raises(RuntimeError, match="serves already"):
            server.start()
        with AttentionClient(server.address) as client:
            assert client.server_info().version


def test_two_servers_are_two() -> None:
    with (
        EmbeddedServer(demo=False, max_batch=1) as one,
        EmbeddedServer(demo=False, max_batch=2) as other,
    ):
        batches = []
        for server in (one, other):
            with AttentionClient(server.address) as client:
                batches.append(client.server_info().limits.batch)

    assert batches == [1, 2]


def test_taken_port_is_an_error_of_the_setting_and_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        before = set(threading.enumerate())
        with pytest.raises(SettingsError, match=r"^listen: port \d+ of 127\.0\.0\.1 is taken; "):
            EmbeddedServer(listen=address, demo=False).__enter__()

    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_bach": 1}, "max_bach: there is no such setting; did you mean max_batch?"),
        ({"config": "a.toml"}, "config: there is no such setting; --help shows all"),
        ({"max_batch": 0}, "max_batch: must be a whole number from 1 to 4294967295"),
        ({"models": "/no/such"}, "models: must be a directory that is there and that this user"),
    ],
)
def test_wrong_setting_is_refused_in_the_words_of_the_command(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(said)}"):
        EmbeddedServer(**settings)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_server_on_every_address_is_found_on_the_loopback_one(listen: str) -> None:
    with EmbeddedServer(listen=listen, demo=False) as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.address)
        with AttentionClient(server.address) as client:
            assert client.server_info().version


def test_environment_does_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_SERVER_MAX_BATCH", "1")

    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        assert client.server_info().limits.batch == 256


async def test_it_serves_beside_a_running_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        server = await asyncio.to_thread(EmbeddedServer(demo=False).__enter__)
        async with AsyncAttentionClient(server.address) as client:
            results = await asyncio.gather(
                *(client.attend("sdpa", [[[float(i)]]], num_heads=1) for i in range(32))
            )
        await asyncio.to_thread(server.__exit__, None, None, None)

    assert len(results) == 32
    assert caplog.records == []


def test_server_that_is_never_started_leaves_nothing_open() -> None:
    server = EmbeddedServer(demo=False)

    del server
    gc.collect()  # a loop left open would warn here, and warnings are errors
