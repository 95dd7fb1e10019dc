"""Where a server listens: all of it or nothing, and a reason that can be acted on."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator

import pytest

from attention_client import AttentionClient
from attention_server import EmbeddedServer
from attention_server.listening import check_listenable
from attention_server.settings import SettingsError
from tests.integration.programs import ServerProcess, run_server

TAKEN = "is taken; stop what listens there or choose another port, 0 for any that is free"
TWO_ADDRESSES = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


class Refusing(socket.socket):
    """A socket that cannot be bound."""

    reason = errno.EACCES

    def bind(self, address: object, /) -> None:
        raise OSError(self.reason, "no")


class RefusingIPv6(Refusing):
    """A socket of a machine where IPv6 is switched off."""

    reason = errno.EADDRNOTAVAIL

    def bind(self, address: object, /) -> None:
        if self.family == socket.AF_INET6:
            super().bind(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]"])  # noqa: S104
def test_taken_port_is_named(taken: int, host: str) -> None:
    done = run_server("--listen", f"{host}:{taken}", "--no-demo")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"attention-server: listen: port {taken} of {host} {TAKEN}\n"


def test_port_of_another_server_is_taken() -> None:
    with EmbeddedServer(demo=False) as server:
        with pytest.raises(SettingsError, match=TAKEN):
            EmbeddedServer(listen=server.address, demo=False).start()
        with AttentionClient(server.address) as client:
            assert client.server_info().version


def test_port_that_was_left_a_moment_ago_is_free() -> None:
    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        assert client.server_info().version

    with EmbeddedServer(listen=server.address, demo=False) as again:
        assert again.address == server.address


def test_port_for_privileged_users_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Refusing)

    with pytest.raises(SettingsError) as caught:
        check_listenable("127.0.0.1:80")

    assert str(caught.value) == (
        "listen: port 80 is for privileged users; choose one from 1024 to 65535"
    )


def test_name_may_have_an_address_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: TWO_ADDRESSES)
    monkeypatch.setattr(socket, "socket", RefusingIPv6)

    check_listenable("localhost:0")


def test_name_with_a_port_taken_on_one_of_its_addresses_is_refused(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    # gRPC would listen on the other, and the two servers would share the name.
    found = [(*one[:4], (one[4][0], taken, *one[4][2:])) for one in TWO_ADDRESSES]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(SettingsError, match=f"port {taken} of localhost {TAKEN}"):
        check_listenable(f"localhost:{taken}")


def test_port_0_is_told_as_the_port_that_it_became() -> None:
    with ServerProcess("--no-demo") as server, AttentionClient(server.address) as client:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.address)
        assert client.server_info().version
