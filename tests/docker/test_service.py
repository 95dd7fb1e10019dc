"""What the container does: serve the built-in models and own ones, and drain when it is stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from grpc_health.v1 import health_pb2
from numpy.typing import NDArray
from safetensors.torch import load_file

import examples.demo
from attention_client import AttendResult, AttentionClient
from attention_export import export, fresh_layer
from attention_export.float64_layer import Float64Layer
from attention_export.module import MultiHeadAttention
from attention_service import reference
from attention_service.v1 import attention_pb2 as pb
from examples.demo.character_model import HEAD_DIM, HEADS, WIDTH
from tests.docker.composition import Composition
from tests.integration.programs import PATIENCE_SECONDS
from tests.integration.relay import Relay
from tests.messages import floats, sdpa
from tests.wire import Wire

CLOSE = 1e-5


def embeddings(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def demo_layer() -> MultiHeadAttention:
    (demo,) = examples.demo.__path__
    layer = MultiHeadAttention(WIDTH, HEADS, head_dim=HEAD_DIM)
    layer.load_state_dict(load_file(f"{demo}/attention.safetensors"))
    return layer


def assert_close(actual: NDArray[Any] | None, right: NDArray[Any]) -> None:
    assert actual is not None
    np.testing.assert_allclose(actual, right, rtol=0, atol=CLOSE)


def assert_right(result: AttendResult, layer: MultiHeadAttention, x: NDArray[Any]) -> None:
    """Compares self-attention of sequences of equal length, causal, with the reference."""
    batch, length, _ = x.shape
    allowed = reference.may_attend(
        batch=batch, query_len=length, kv_len=length, causal="lower_right"
    )
    right = Float64Layer(layer).compute(x, x, x, allowed)

    assert_close(result.output, right["output"])
    assert_close(result.weights, right["weights"])


def test_sdpa_answers_what_the_reference_does(client: AttentionClient) -> None:
    x = embeddings(2, 7, 12)
    heads = reference.split_heads(x, 3)
    right = reference.attention(heads, heads, heads)

    result = client.attend("sdpa", x, num_heads=3, weights=True)

    assert_close(result.output, reference.combine_heads(right.head_outputs))
    assert_close(result.weights, right.weights)


def test_demo_answers_what_its_trained_weights_do(client: AttentionClient) -> None:
    x = embeddings(2, 7, WIDTH)

    result = client.attend("demo", x, causal="lower_right", weights=True)

    assert_right(result, demo_layer(), x)


def test_model_exported_into_the_volume_is_served_after_a_restart(
    composition: Composition,
) -> None:
    layer = fresh_layer(16, 2, seed=3)
    export(layer.module, models=composition.models, name="own", source=layer.source)
    x = embeddings(2, 7, 16)

    composition.restart()

    with AttentionClient(composition.address) as client:
        assert {model.name for model in client.list_models()} == {"demo", "own", "sdpa"}
        result = client.attend("own", x, causal="lower_right", weights=True)
    assert_right(result, layer.module, x)


def test_log_warns_of_nothing_with_or_without_own_models(composition: Composition) -> None:
    lines = composition.log()

    assert "INFO no model in /models" in lines[0]
    assert [line for line in lines if " INFO " not in line] == []


def test_what_is_in_flight_when_it_is_stopped_is_answered_and_the_status_is_0(
    composition: Composition,
) -> None:
    large = sdpa(query=floats(1, 2048, 2), key=None, value=None)
    large.outputs.weights.SetInParent()  # 32 MiB, more than sockets hold
    with (
        ThreadPoolExecutor() as threads,
        Wire(composition.address) as watcher,
        Relay(composition.address) as relay,
        Wire(relay.address) as caller,
    ):
        health = watcher.watch_health()
        assert next(health) == health_pb2.HealthCheckResponse.SERVING
        call = caller.begin("Attend", large)
        assert relay.holds.wait(PATIENCE_SECONDS)

        stopping = threads.submit(composition.stop)
        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not call.done()
        relay.release()

        weights = pb.AttendResponse.FromString(call.result()).weights
        assert len(weights.data) == 4 * 2 * 2048 * 2048
        stopping.result()

    state = composition.inspect()["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    assert "INFO drained: " in composition.log()[-1]
