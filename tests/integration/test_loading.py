"""Nobody hears of a server before each of its models has run."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from attention_server import EmbeddedServer
from attention_server.domain.model import Model
from attention_server.edge.health import Health
from attention_server.engine.attention import Attention
from attention_server.engine.engine import Engine
from tests.integration.programs import PATIENCE_SECONDS
from tests.wire import Refusal, Wire

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def listen() -> str:
    """An address with a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as closing:
        return f"127.0.0.1:{closing.getsockname()[1]}"


def test_port_is_closed_while_a_model_loads(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go_on = threading.Event(), threading.Event()
    load = Engine.load

    def gated_load(engine: Engine, model: Model, files: Mapping[str, bytes]) -> None:
        loading.set()
        assert go_on.wait(PATIENCE_SECONDS)
        load(engine, model, files)

    monkeypatch.setattr(Engine, "load", gated_load)
    server = EmbeddedServer(listen=listen)
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(server.start)
        try:
            assert loading.wait(PATIENCE_SECONDS)
            with Wire(listen) as early, pytest.raises(grpc.RpcError) as caught:
                early.health()
        finally:
            go_on.set()
        starting.result()
    with Wire(listen) as wire:
        health = wire.health()
    server.close()

    assert Refusal.of(caught.value).code is grpc.StatusCode.UNAVAILABLE
    assert health == SERVING


def test_health_says_serving_once_each_model_has_run(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    compute, say = Attention.compute, Health.set

    def watched_compute(attention: Attention) -> object:
        result = compute(attention)
        key = attention._request.model
        seen.append((key.name, key.version))
        return result

    def watched_say(health: Health, *names: str, serving: bool) -> None:
        seen.append(serving)
        say(health, *names, serving=serving)

    monkeypatch.setattr(Attention, "compute", watched_compute)
    monkeypatch.setattr(Health, "set", watched_say)

    with EmbeddedServer(models):
        ran, said = seen[:-1], seen[-1]
    assert set(ran) == {("demo", "1"), ("layer", "2"), ("layer", "10")}
    assert said is True
