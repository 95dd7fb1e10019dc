"""What orchestrators and tools ask: grpc.health.v1 and server reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame

from attention_server import EmbeddedServer
from attention_server.edge import health
from tests.abuse.peer import Peer, message
from tests.encoding import delimited
from tests.wire import SERVICE, Refusal, Wire

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


@pytest.fixture(scope="module")
def reflecting() -> Iterator[Wire]:
    with EmbeddedServer(demo=False, reflection=True) as server, Wire(server.address) as wire:
        yield wire


def reflected(wire: Wire, **question: str) -> reflection_pb2.ServerReflectionResponse:
    ask: Any = wire.channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo")
    request = reflection_pb2.ServerReflectionRequest(**question)  # type: ignore[arg-type]
    answers = ask(iter([request.SerializeToString()]), timeout=60)
    return reflection_pb2.ServerReflectionResponse.FromString(next(answers))


@pytest.mark.parametrize("service", ["", SERVICE], ids=["the server", "the service"])
def test_health_is_serving(wire: Wire, service: str) -> None:
    assert wire.health(service) == health_pb2.HealthCheckResponse.SERVING


def test_health_of_another_service_is_not_found(wire: Wire) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        wire.health("inference.Other")

    assert Refusal.of(caught.value).code is grpc.StatusCode.NOT_FOUND


def asked(wire: Wire, method: str, data: bytes) -> Iterator[bytes]:
    """Yields what the health service answers to these bytes."""
    ask: Any = wire.channel.unary_stream(f"/{HEALTH}/{method}")  # of a unary call the one answer
    yield from ask(data, timeout=60)


@pytest.mark.parametrize("method", ["Check", "Watch"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (delimited(1, b"x" * 1022), "MESSAGE_LIMIT"),
        (delimited(1, b"x" * (5 << 20)), "MESSAGE_LIMIT"),
        (b"\xff" * 1025, "MESSAGE_LIMIT"),
        (b"\xff" * 1024, "MALFORMED_MESSAGE"),
    ],
    ids=["1,025 bytes", "5 MiB", "1,025 bytes that are no message", "no message"],
)
def test_health_of_what_is_no_name_is_refused(
    wire: Wire, method: str, data: bytes, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(asked(wire, method, data))

    refusal = Refusal.of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


def test_health_of_an_unknown_service_can_be_watched(wire: Wire) -> None:
    name = "x" * 1021  # with what stands before it, as long as a request may be
    assert next(wire.watch_health(name)) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_watch_that_ends_leaves_others_their_news() -> None:
    server = EmbeddedServer(demo=False).start()
    with Wire(server.address) as leaving, Wire(server.address) as staying:
        health, leaver = staying.watch_health(), leaving.watch_health()
        assert next(health) == next(leaver) == health_pb2.HealthCheckResponse.SERVING
        leaving.channel.close()
        assert staying.health() == health_pb2.HealthCheckResponse.SERVING

        server.close()

        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_watch_that_is_not_read_keeps_no_server_from_draining() -> None:
    server = EmbeddedServer(demo=False).start()
    with Peer(server.address) as peer, Wire(server.address) as wire:
        peer.greet({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        headers = peer.headers({":path": f"/{HEALTH}/Watch"})
        peer.send(headers, DataFrame(headers.stream_id, message(b""), flags=["END_STREAM"]))
        health = wire.watch_health()
        assert next(health) == health_pb2.HealthCheckResponse.SERVING

        server.close()

        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_watches_of_health_beyond_a_limit_are_unavailable_until_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MOST_WATCHES", 2)
    with EmbeddedServer(demo=False) as server, Wire(server.address) as wire:
        watches = [wire.watch_health(name) for name in ("", "nobody")]
        assert all(next(watch) for watch in watches)
        with Wire(server.address) as other:
            with pytest.raises(grpc.RpcError) as caught:
                next(other.watch_health())
            assert other.health() == health_pb2.HealthCheckResponse.SERVING
            wire.channel.close()
            assert watched_at_last(other) == health_pb2.HealthCheckResponse.SERVING

    refusal = Refusal.of(caught.value)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.message == "at most 2 may watch at a time"


def watched_at_last(wire: Wire) -> int:
    """Returns what a watch says first, once there is room for it."""
    for _ in range(1000):  # the server hears of the end of others when it does
        try:
            return next(wire.watch_health())
        except grpc.RpcError:
            continue
    raise AssertionError("there is never room")


def test_reflection_is_off_unless_it_is_asked_for(wire: Wire) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reflected(wire, list_services="")

    assert Refusal.of(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_the_services(reflecting: Wire) -> None:
    services = reflected(reflecting, list_services="").list_services_response.service

    assert {service.name for service in services} == {SERVICE, "grpc.health.v1.Health", REFLECTION}


def test_reflection_gives_the_contract(reflecting: Wire) -> None:
    answer = reflected(reflecting, file_containing_symbol=SERVICE)

    files = answer.file_descriptor_response.file_descriptor_proto
    assert any(b"attention_service/v1/attention.proto" in file for file in files)
