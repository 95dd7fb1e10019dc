from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    ClientClosedError,
    RequestCancelledError,
)
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.handlers import info, until

Ask = Callable[..., Any]
Serve = Callable[..., str]


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
        if not context.add_callback(cancelled.set):  # over already
            cancelled.set()
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
