from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import attention_client
from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    AttentionSettings,
    ClientClosedError,
    DeadlineExceededError,
    InvalidRequestError,
    Limits,
    Model,
    RequestCancelledError,
    ServerInfo,
)
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

METHODS = ["attend", "list_models", "get_model", "server_info"]


def info(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
    return pb.GetServerInfoResponse(version="1.2.3")


def until(
    done: threading.Event, arrived: threading.Event | None = None
) -> Callable[..., pb.GetServerInfoResponse]:
    def handler(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        if arrived is not None:
            arrived.set()
        done.wait(20)
        return pb.GetServerInfoResponse()

    return handler


def test_the_package_exports_these_names() -> None:
    assert attention_client.__all__ == [
        "AsyncAttentionClient",
        "AttendResult",
        "AttentionClient",
        "AttentionError",
        "AttentionSettings",
        "ClientClosedError",
        "DeadlineExceededError",
        "Execution",
        "FieldViolation",
        "InternalServerError",
        "InvalidRequestError",
        "LimitExceededError",
        "Limits",
        "Model",
        "ModelNotFoundError",
        "NonFiniteError",
        "NotImplementedByServerError",
        "PermissionDeniedError",
        "ProtocolError",
        "Reason",
        "RequestCancelledError",
        "RequestTooLargeError",
        "RetryPolicy",
        "ScoresSpec",
        "ServerBusyError",
        "ServerInfo",
        "ServerUnavailableError",
        "UnauthenticatedError",
        "WeightsSpec",
        "from_torch_attn_mask",
        "from_torch_key_padding_mask",
    ]
    assert all(hasattr(attention_client, name) for name in attention_client.__all__)


@pytest.mark.parametrize("client", [AttentionClient, AsyncAttentionClient])
def test_both_clients_have_the_same_methods(client: type) -> None:
    public = [name for name in dir(client) if not name.startswith("_")]

    assert public == sorted([*METHODS, "close"])


def test_both_clients_are_made_alike() -> None:
    assert inspect.signature(AttentionClient) == inspect.signature(AsyncAttentionClient)


@pytest.mark.parametrize("method", METHODS)
def test_both_clients_take_and_document_the_same(method: str) -> None:
    blocking, awaiting = (
        getattr(client, method) for client in (AttentionClient, AsyncAttentionClient)
    )

    assert inspect.signature(blocking) == inspect.signature(awaiting)
    assert blocking.__doc__ == awaiting.__doc__
    assert "timeout" in blocking.__doc__
    assert inspect.iscoroutinefunction(awaiting)


@pytest.mark.parametrize("method", METHODS)
def test_every_keyword_of_a_method_is_documented(method: str) -> None:
    function = getattr(AttentionClient, method)
    assert function.__name__ == method
    keywords = list(inspect.signature(function).parameters)[1:]

    for keyword in keywords:
        assert f"    {keyword}: " in function.__doc__, keyword


def test_the_server_describes_itself(serve: Serve, ask: Ask) -> None:
    response = pb.GetServerInfoResponse(
        version="1.2.3",
        providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        limits=pb.Limits(message_bytes=1, batch=2, length=3, work=2**36, stream_bytes=5),
    )

    answer = ask(serve(GetServerInfo=lambda *_: response), lambda client: client.server_info())

    assert answer == ServerInfo(
        version="1.2.3",
        providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
        limits=Limits(message_bytes=1, batch=2, length=3, work=2**36, stream_bytes=5),
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


def test_a_closed_client_says_so(serve: Serve) -> None:
    address = serve(GetServerInfo=info)
    client = AttentionClient(address)
    client.server_info()
    client.close()
    client.close()

    with pytest.raises(ClientClosedError, match="closed"):
        client.server_info()


async def test_a_closed_async_client_says_so(serve: Serve) -> None:
    address = serve(GetServerInfo=info)
    client = AsyncAttentionClient(address)
    await client.server_info()
    await client.close()
    await client.close()

    with pytest.raises(ClientClosedError, match="closed"):
        await client.server_info()


def test_a_call_under_way_ends_when_the_client_is_closed(serve: Serve) -> None:
    done, arrived = threading.Event(), threading.Event()
    client = AttentionClient(serve(GetServerInfo=until(done, arrived)))

    def close() -> None:
        arrived.wait(20)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()

    with pytest.raises(RequestCancelledError):
        client.server_info()

    done.set()
    closing.join()


def test_a_call_that_meets_a_channel_being_closed_says_so(serve: Serve) -> None:
    client = AttentionClient(serve(GetServerInfo=info))
    stub = client._transport._stub

    class Closing:
        def GetServerInfo(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
            client.close()  # as another thread does once send() has seen the client open
            return stub.GetServerInfo(*args, **kwargs)

    client._transport._stub = Closing()  # type: ignore[assignment]

    with pytest.raises(ClientClosedError, match="closed") as caught:
        client.server_info()

    assert caught.value.__context__ is None


async def test_an_async_call_under_way_ends_when_the_client_is_closed(serve: Serve) -> None:
    done, arrived = threading.Event(), threading.Event()
    client = AsyncAttentionClient(serve(GetServerInfo=until(done, arrived)))
    task = asyncio.create_task(client.server_info())
    await asyncio.to_thread(arrived.wait, 20)

    await client.close()

    with pytest.raises(RequestCancelledError, match="closed") as caught:
        await task
    done.set()
    assert caught.value.code == "CANCELLED"


@pytest.mark.parametrize("first", ["cancelled", "closed"])
async def test_a_task_cancelled_while_its_client_is_closed_is_a_cancelled_task(
    serve: Serve, first: str
) -> None:
    done, arrived = threading.Event(), threading.Event()
    client = AsyncAttentionClient(serve(GetServerInfo=until(done, arrived)))
    task = asyncio.create_task(client.server_info())
    await asyncio.to_thread(arrived.wait, 20)

    if first == "cancelled":
        task.cancel()
        await client.close()
    else:
        await client.close()
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    done.set()
    assert task.cancelled()


async def test_a_task_cancelled_as_soon_as_it_asks_leaves_no_call_behind(serve: Serve) -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def handler(_: Any, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(20)
        return pb.ListModelsResponse()

    async with AsyncAttentionClient(serve(GetServerInfo=info, ListModels=handler)) as client:
        await client.server_info()  # connected
        task = asyncio.create_task(client.list_models())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.server_info()  # answered after what was sent before it has arrived

        assert not arrived.is_set() or await asyncio.to_thread(cancelled.wait, 5)


async def test_cancelling_a_task_cancels_the_call_on_the_server(serve: Serve) -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def handler(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(20)
        return pb.GetServerInfoResponse()

    async with AsyncAttentionClient(serve(GetServerInfo=handler)) as client:
        task = asyncio.create_task(client.server_info())
        await asyncio.to_thread(arrived.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await asyncio.to_thread(cancelled.wait, 20)


async def test_many_calls_run_at_once_on_one_async_client(serve: Serve) -> None:
    together = threading.Barrier(4, timeout=20)

    def handler(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        together.wait()
        return pb.GetServerInfoResponse()

    async with AsyncAttentionClient(serve(GetServerInfo=handler)) as client:
        answers = await asyncio.gather(*(client.server_info() for _ in range(4)))

    assert len(answers) == 4


def test_threads_share_one_client(serve: Serve) -> None:
    together = threading.Barrier(4, timeout=20)

    def handler(request: pb.AttendRequest, _: Any) -> pb.AttendResponse:
        together.wait()
        return pb.AttendResponse(request_id=request.request_id)

    answered: list[str] = []
    query = np.zeros((1, 1, 1), np.float32)
    with AttentionClient(serve(Attend=handler)) as client:
        threads = [
            threading.Thread(
                target=lambda name=name: answered.append(
                    client.attend("sdpa", query, request_id=name).request_id
                )
            )
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(answered) == ["a", "b", "c", "d"]
