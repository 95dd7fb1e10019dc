from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from attention_server.domain.errors import InvalidRequest
from attention_server.edge.wire import LARGE_BYTES, offload, parse
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb


def test_bytes_become_their_message() -> None:
    message = pb.GetModelRequest(model="layer", model_version="2")

    assert parse(pb.GetModelRequest, message.SerializeToString()) == message


def test_no_bytes_are_an_empty_message() -> None:
    assert parse(pb.AttendRequest, b"") == pb.AttendRequest()


def test_bytes_that_are_no_message_are_refused_by_the_messages_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(pb.AttendRequest, b"\xff")

    assert caught.value.reason is Reason.MALFORMED_MESSAGE
    assert caught.value.message == "the bytes are no attention_service.v1.AttendRequest"


@pytest.mark.parametrize(
    ("size", "elsewhere"), [(0, False), (LARGE_BYTES - 1, False), (LARGE_BYTES, True)]
)
async def test_large_work_leaves_the_event_loops_thread(size: int, elsewhere: bool) -> None:
    with ThreadPoolExecutor() as executor:
        thread = await offload(executor, size, threading.get_ident)

    assert (thread != threading.get_ident()) is elsewhere


@pytest.mark.parametrize("size", [0, LARGE_BYTES])
async def test_what_the_work_raises_is_raised(size: int) -> None:
    with ThreadPoolExecutor() as executor, pytest.raises(ZeroDivisionError):
        await offload(executor, size, lambda: 1 // 0)


async def test_work_that_is_cancelled_while_it_waits_lets_go_of_what_it_holds() -> None:
    async def offloaded(executor: ThreadPoolExecutor, tensor: np.ndarray) -> int:
        return await offload(executor, LARGE_BYTES, lambda: tensor.size)

    busy = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(busy.wait)
        tensor = np.zeros(1)
        held = weakref.ref(tensor)
        task = asyncio.create_task(offloaded(executor, tensor))
        del tensor
        await asyncio.sleep(0)
        assert held() is not None

        task.cancel()
        await asyncio.wait([task])
        del task

        try:
            assert held() is None
        finally:
            busy.set()
