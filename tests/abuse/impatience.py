"""Callers that leave: a crowd of calls with short deadlines and cancellations at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from attention_client import AsyncAttentionClient, AttentionClient
from attention_client.errors import AttentionError
from attention_service.v1 import attention_pb2 as pb
from tests.messages import floats, sdpa
from tests.stream import in_chunks, request
from tests.wire import SERVICE, Wire

_LATEST_SECONDS = 0.06
_PATIENCE_SECONDS = 60.0
_AT_ONCE = 12


def _weighty() -> pb.AttendRequest:
    """Returns a request of 2 kB, whose answer has 512 KiB."""
    attend = sdpa(query=floats(1, 256, 2), key=None, value=None)
    attend.outputs.weights.SetInParent()
    return attend


_REQUESTS = [
    attend.SerializeToString()
    for attend in (
        sdpa(),
        sdpa(model="nobody"),
        sdpa(query=floats(1, 1024, 2), key=None, value=None),  # little to send, much to compute
        sdpa(query=floats(1, 256, 1024), key=None, value=None),  # 1 MiB either way
        _weighty(),
    )
]
_STREAMED = [
    [b""] * 3,
    [request("a", sdpa()).SerializeToString(), request("b", _weighty()).SerializeToString()],
    [message.SerializeToString() for message in in_chunks("a", _weighty(), 500)],
    [message.SerializeToString() for message in in_chunks("a", sdpa(), 100)][:-1],
]
_EMBEDDINGS = [np.ones(shape, np.float32) for shape in [(1, 4, 8), (1, 256, 1024), (1, 1024, 2)]]


@dataclass(frozen=True)
class Plan:
    """One call, and how long its caller wants to wait."""

    way: str
    which: int
    """Of the requests."""
    deadline: float
    """Seconds."""
    leaves_after: float | None
    """Seconds until the caller cancels; None for never."""

    @classmethod
    def drawn(cls, draw: random.Random) -> Plan:
        return cls(
            way=draw.choices(["unary", "stream", "awaiting", "blocking"], weights=[5, 1, 4, 2])[0],
            which=draw.randrange(60),
            deadline=draw.choice([_PATIENCE_SECONDS, _soon(draw)]),
            leaves_after=draw.choice([None, None, _soon(draw)]),
        )


class Crowd:
    """Calls a server in every way that the clients have, and often does not wait for the answer.

    Args:
        address: Where the server listens.
        draw: Decides who calls what and leaves when.
    """

    def __init__(self, address: str, draw: random.Random) -> None:
        self.ends: Counter[str] = Counter()
        """How calls ended for the callers: "ok", a gRPC status or an error of the SDK."""
        self._address = address
        self._draw = draw

    def call(self, times: int) -> None:
        """Makes this many calls, and returns when the callers know how each of them ended."""
        asyncio.run(self._call([Plan.drawn(self._draw) for _ in range(times)]))
        gc.collect()  # gRPC's clients keep their connections until what knew them is found

    async def _call(self, plans: list[Plan]) -> None:
        at_once = asyncio.Semaphore(_AT_ONCE)
        with (
            ThreadPoolExecutor(_AT_ONCE) as threads,
            AttentionClient(self._address) as client,
            Wire(self._address) as wire,
        ):
            async with AsyncAttentionClient(self._address) as async_client:

                async def end_of(plan: Plan) -> str:
                    async with at_once:
                        if plan.way == "awaiting":
                            return await _awaited(async_client, plan)
                        if plan.way == "blocking":
                            return await asyncio.wrap_future(threads.submit(_blocked, client, plan))
                        return await _left(_begun(wire, plan), plan)

                self.ends.update(await asyncio.gather(*map(end_of, plans)))


def _begun(wire: Wire, plan: Plan) -> Any:
    """Returns a call under way: a grpc.Future, or a stream."""
    if plan.way == "stream":
        stream: Any = wire.channel.stream_stream(f"/{SERVICE}/AttendStream")
        call = stream(iter(_STREAMED[plan.which % len(_STREAMED)]), timeout=plan.deadline)
        threading.Thread(target=_read, args=(call,)).start()
        return call
    method: Any = wire.channel.unary_unary(f"/{SERVICE}/Attend")
    return method.future(_REQUESTS[plan.which % len(_REQUESTS)], timeout=plan.deadline)


def _read(call: Any) -> None:
    with contextlib.suppress(grpc.RpcError):
        for _ in call:
            pass


async def _left(call: Any, plan: Plan) -> str:
    """Leaves the call, or not, and returns how it ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    if not call.add_callback(lambda: loop.call_soon_threadsafe(ended.set)):
        ended.set()  # before it could be told
    if plan.leaves_after is not None:
        await asyncio.sleep(plan.leaves_after)
        call.cancel()
    await asyncio.wait_for(ended.wait(), _PATIENCE_SECONDS)
    code: grpc.StatusCode = call.code()
    return "ok" if code is grpc.StatusCode.OK else code.name


async def _awaited(client: AsyncAttentionClient, plan: Plan) -> str:
    asking = asyncio.create_task(client.attend(**_keywords(plan)))
    if plan.leaves_after is not None:
        await asyncio.sleep(plan.leaves_after)
        asking.cancel()
    try:
        await asking
    except asyncio.CancelledError:
        return "CANCELLED"
    except AttentionError as error:
        return type(error).__name__
    return "ok"


def _blocked(client: AttentionClient, plan: Plan) -> str:
    try:
        client.attend(**_keywords(plan))
    except AttentionError as error:
        return type(error).__name__
    return "ok"


def _keywords(plan: Plan) -> dict[str, Any]:
    query = _EMBEDDINGS[plan.which % len(_EMBEDDINGS)]
    timeout = max(plan.deadline, 1e-6)  # the SDK wants some time
    return {"model": "sdpa", "query": query, "num_heads": 2, "timeout": timeout}


def _soon(draw: random.Random) -> float:
    """Returns a few hundredths of a second, and every tenth time none at all."""
    return max(0.0, draw.uniform(-_LATEST_SECONDS / 9, _LATEST_SECONDS))
