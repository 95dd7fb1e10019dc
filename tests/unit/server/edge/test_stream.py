from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
from grpc import aio

from attention_server.domain.catalog import Catalog
from attention_server.domain.model import SDPA
from attention_server.edge.decoder import Decoder, StreamDecoder
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.means import Means
from attention_server.edge.stream import StreamHandlers
from attention_server.edge.traffic import Traffic
from attention_server.scheduling.budget import Budget
from attention_service.limits import Limits
from tests.messages import sdpa
from tests.stream import request

LIMITS = Limits(message_bytes=1 << 26, batch=256, length=1000, work=1 << 36, stream_bytes=1 << 30)


class Unreachable:
    """The context of a caller that sent a request and is gone, of which gRPC has not told yet."""

    def __init__(self) -> None:
        self._sent = [request("a", sdpa(model="nobody")).SerializeToString()]

    async def read(self) -> bytes:
        if not self._sent:
            await asyncio.Event().wait()
        return self._sent.pop()

    async def write(self, _: bytes) -> None:
        raise aio.InternalError('Failed "execute_batch"')

    def time_remaining(self) -> None:
        return None


class Idle:
    """A scheduler to which nothing comes."""

    def __init__(self) -> None:
        self.budget = Budget(1 << 20)

    def reserved(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_a_caller_that_cannot_be_told_its_answer_is_gone_and_no_fault() -> None:
    async def serve(traffic: Traffic) -> None:
        with ThreadPoolExecutor(1) as executor:
            catalog = Catalog([SDPA])
            means = Means(
                catalog=catalog,
                limits=LIMITS,
                decoder=Decoder(catalog, LIMITS),
                stream_decoder=StreamDecoder(catalog, LIMITS),
                scheduler=cast("Any", Idle()),
                executor=executor,
                freed_memory=FreedMemory(executor),
            )
            stream = StreamHandlers(means, traffic)
            await asyncio.wait_for(stream.attend_stream(None, cast("Any", Unreachable())), 10)

    async def counted() -> Any:
        traffic = Traffic()
        with pytest.raises(asyncio.CancelledError):
            await serve(traffic)
        return traffic.counts

    counts = asyncio.run(counted())

    assert (counts.accepted, counts.in_flight, counts.refused) == (1, 0, 1)
