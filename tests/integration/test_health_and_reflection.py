"""What orchestrators and tools ask: grpc.health.v1 and server reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from attention_server import EmbeddedServer
from tests.wire import SERVICE, Refusal, Wire

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
