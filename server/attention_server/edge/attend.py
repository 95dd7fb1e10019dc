"""The RPCs that compute attention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import cast

from grpc import aio

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import NotBuilt
from attention_server.domain.request import AttendResult
from attention_server.edge.decode import Decoded, decode
from attention_server.edge.encode import encode_result
from attention_server.edge.entries import check_entries
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.wire import offload, parse
from attention_server.scheduling.job import Job
from attention_server.scheduling.scheduler import Scheduler
from attention_service.limits import Limits
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AttendHandlers"]


class AttendHandlers:
    """Attend, and what is not built yet."""

    def __init__(
        self,
        catalog: Catalog,
        limits: Limits,
        scheduler: Scheduler,
        executor: Executor,
        freed_memory: FreedMemory,
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._scheduler = scheduler
        self._executor = executor
        self._freed_memory = freed_memory

    async def attend(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Computes attention for one batch of sequences."""
        arrived, deadline, budget = time.monotonic(), _deadline(context), self._scheduler.budget
        context.add_done_callback(self._over)  # type: ignore[arg-type]  # any callable
        budget.take(context, len(data))
        with self._scheduler.reserved():
            request, form = await offload(self._executor, len(data), lambda: self._decode(data))
        budget.take(context, form.tensor_bytes)
        job = Job(request, deadline=deadline, arrived=arrived)
        del request
        result = await self._computed(job)
        del job  # and with it the request's tensors: the answer is large enough
        return await offload(
            self._executor,
            form.tensor_bytes,
            lambda: encode_result(result, form).SerializeToString(),
        )

    async def analyze_heads(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Refuses: not built yet."""
        raise NotBuilt("AnalyzeHeads")

    async def attend_stream(
        self, requests: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]
    ) -> None:
        """Refuses: not built yet."""
        raise NotBuilt("AttendStream")

    async def _computed(self, job: Job) -> AttendResult:
        """Returns the job's answer; gives it up where the caller does."""
        self._scheduler.submit(job)
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            del job  # an error knows this frame, and the answer the error: that would be a circle

    def _over(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        """Ends a call whose answer is with its caller, or which has none."""
        self._freed_memory.call_over(self._scheduler.budget.give_back(context))

    def _decode(self, data: bytes) -> Decoded:
        check_entries(pb.AttendRequest, data, self._limits)
        return decode(parse(pb.AttendRequest, data), self._catalog, self._limits)


def _deadline(context: aio.ServicerContext[bytes, bytes]) -> float | None:
    """Returns when the caller's time is over, on the clock of time.monotonic."""
    remaining = cast("float | None", context.time_remaining())
    return None if remaining is None else time.monotonic() + remaining
