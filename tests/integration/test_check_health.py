"""attention-server check-health: status 0 while the server serves, else 1 and one line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from attention_server import EmbeddedServer
from attention_server.cli.check_health import check_health
from attention_server.cli.failure import CommandFailed
from attention_server.cli.sources import Given
from attention_server.settings import Settings
from tests.integration.programs import run_server


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with EmbeddedServer(demo=False) as server:
        yield server.address


@contextmanager
def other_server(status: int | None) -> Iterator[str]:
    """Yields the address of a gRPC server that says this of its health; None: that says nothing."""
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        if status is not None:
            servicer = health.HealthServicer()
            servicer.set("", status)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1", "0.0.0.0", "[::]", "localhost"],  # noqa: S104 - for a moment
)
def test_server_that_serves_is_healthy(listen: str) -> None:
    with EmbeddedServer(listen=f"{listen}:0", demo=False) as server:
        done = run_server("check-health", "--listen", server.address)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_address_is_that_of_the_settings(address: str) -> None:
    done = run_server("check-health", variables={"ATTENTION_SERVER_LISTEN": address})

    assert (done.returncode, done.stderr) == (0, "")


def test_proxy_is_not_asked(address: str) -> None:
    # A proxy that is not there: who asks it is refused.
    done = run_server(
        "check-health", "--listen", address, variables={"http_proxy": "http://127.0.0.1:9"}
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_port_that_nobody_listens_on_is_a_line_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        address = f"127.0.0.1:{closing.getsockname()[1]}"
    done = run_server("check-health", "--listen", address)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"attention-server: no server answers on {address}\n"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (health_pb2.HealthCheckResponse.NOT_SERVING, "says NOT_SERVING, not SERVING"),
        (None, "is not this server: it answered UNIMPLEMENTED"),
    ],
)
def test_server_that_does_not_serve_is_a_line_that_says_so(status: int | None, said: str) -> None:
    with other_server(status) as address:
        done = run_server("check-health", "--listen", address)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"attention-server: {address} {said}\n"


def test_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_server.cli.check_health._DEADLINE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(CommandFailed) as caught:
            check_health(Given(Settings(listen=address), origins={}))

    assert str(caught.value) == f"{address} did not answer within 0.1 s"


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("127.0.0.1:0", "listen: must have the server's port, 0 stands for any"),
        ("127.0.0.1", "listen: must be ADDRESS:PORT with a port from 0 to 65535, "),
    ],
)
def test_address_that_cannot_be_asked_is_status_1_too(listen: str, said: str) -> None:
    done = run_server("check-health", "--listen", listen)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"attention-server: {said}")


def test_engine_is_not_loaded_to_ask(address: str) -> None:
    done = run_server(
        "check-health",
        "--listen",
        address,
        program="import sys; sys.modules['onnxruntime'] = None\n"
        "from attention_server.cli import main\n"
        "sys.exit(main())",
    )

    assert (done.returncode, done.stderr) == (0, "")
