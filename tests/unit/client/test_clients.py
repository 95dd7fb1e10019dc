from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    AttentionSettings,
    DeadlineExceededError,
    InvalidRequestError,
    Limits,
    Model,
    ServerInfo,
)
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.handlers import info, until

Ask = Callable[..., Any]
Serve = Callable[..., str]


def test_the_server_describes_itself(serve: Serve, ask: Ask) -> None:
    response = pb.GetServerInfoResponse(
        version="1.2.3",
        providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        limits=pb.Limits(
            message_bytes=1,
            batch=2,
            length=3,
            work=2**36,
            stream_bytes=5,
            waiting_requests=6,
            waiting_bytes=7,
            drain=Duration(seconds=8, nanos=500_000_000),
        ),
    )

    answer = ask(serve(GetServerInfo=lambda *_: response), lambda client: client.server_info())

    assert answer == ServerInfo(
        version="1.2.3",
        providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
        limits=Limits(
            message_bytes=1,
            batch=2,
            length=3,
            work=2**36,
            stream_bytes=5,
            waiting_requests=6,
            waiting_bytes=7,
            drain_seconds=8.5,
        ),
    )


def test_a_model_is_described_in_the_sdks_names(serve: Serve, ask: Ask) -> None:
    asked: list[pb.GetModelRequest] = []

    def handler(request: pb.GetModelRequest, _: Any) -> pb.GetModelResponse:
        asked.append(request)
        return pb.GetModelResponse(
            model=pb.Model(
                name="m",
                version="2",
                query_dim=1,
                key_dim=2,
                value_dim=3,
                output_dim=4,
                head_dim=5,
                value_head_dim=6,
                defaults=pb.AttentionSettings(
                    num_heads=8,
                    num_kv_heads=2,
                    scale=0.5,
                    softcap=30,
                    causal=pb.CAUSAL_MODE_LOWER_RIGHT,
                    window=pb.SlidingWindow(left=7),
                ),
                positions=pb.POSITION_USE_ROTARY,
                outputs=[pb.OUTPUT_OUTPUT, pb.OUTPUT_LOG_SUM_EXP, 99],  # type: ignore[list-item]
                source={"family": "llama"},
            )
        )

    model = ask(serve(GetModel=handler), lambda client: client.get_model("m", 2))

    assert asked == [pb.GetModelRequest(model="m", model_version="2")]
    assert model == Model(
        name="m",
        version="2",
        query_dim=1,
        key_dim=2,
        value_dim=3,
        output_dim=4,
        head_dim=5,
        value_head_dim=6,
        defaults=AttentionSettings(
            num_heads=8,
            num_kv_heads=2,
            scale=0.5,
            softcap=30.0,
            causal="lower_right",
            window=(7, None),
        ),
        positions="rotary",
        outputs=("output", "log_sum_exp"),
        source={"family": "llama"},
    )


def test_models_of_all_pages_are_listed(serve: Serve, ask: Ask) -> None:
    pages = {"": ("a", "1"), "1": ("b", "2"), "2": ("c", "")}

    def handler(request: pb.ListModelsRequest, _: Any) -> pb.ListModelsResponse:
        name, following = pages[request.page_token]
        return pb.ListModelsResponse(models=[pb.Model(name=name)], next_page_token=following)

    models = ask(serve(ListModels=handler), lambda client: client.list_models())

    assert [model.name for model in models] == ["a", "b", "c"]


def test_a_unix_socket_is_an_address(serve: Serve, ask: Ask, tmp_path: Path) -> None:
    address = serve(f"unix:{tmp_path / 's'}", GetServerInfo=info)

    assert ask(address, lambda client: client.server_info()).version == "1.2.3"


@pytest.mark.parametrize("address", ["", "localhost", "http://localhost:50051"])
@pytest.mark.parametrize("client", [AttentionClient, AsyncAttentionClient])
def test_what_is_no_address_is_refused(client: Callable[[str], Any], address: str) -> None:
    with pytest.raises(ValueError, match="address must be 'host:port' or 'unix:path'"):
        client(address)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "soon", None])
@pytest.mark.parametrize("client", [AttentionClient, AsyncAttentionClient])
def test_a_client_without_a_finite_deadline_is_refused(
    client: Callable[..., Any], timeout: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="timeout"):
        client("localhost:1", timeout=timeout)


def test_a_call_ends_at_its_timeout(serve: Serve, ask: Ask) -> None:
    done = threading.Event()
    address = serve(GetServerInfo=until(done))
    started = time.monotonic()

    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s") as caught:
        ask(address, lambda client: client.server_info(timeout=0.2))

    done.set()
    assert time.monotonic() - started < 5
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_the_servers_deadline_is_the_calls_timeout_else_the_clients(serve: Serve, ask: Ask) -> None:
    seen: list[float] = []

    def handler(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        seen.append(context.time_remaining())
        return pb.GetServerInfoResponse()

    address = serve(GetServerInfo=handler)
    ask(address, lambda client: client.server_info())
    ask(address, lambda client: client.server_info(), timeout=100)
    ask(address, lambda client: client.server_info(timeout=200), timeout=100)

    assert seen == pytest.approx([30, 100, 200], abs=5)
