"""The unary RPCs that compute attention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from grpc import aio

from attention_server.domain.request import AttendResult
from attention_server.edge.analyze import decode_analysis
from attention_server.edge.decode import Decoded
from attention_server.edge.encode import AnswerForm, encode_analysis, encode_result
from attention_server.edge.entries import check_entries
from attention_server.edge.means import Means
from attention_server.edge.wire import deadline_of, offload, parse
from attention_server.scheduling.job import Job
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AttendHandlers"]


class AttendHandlers:
    """Attend and AnalyzeHeads."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def attend(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Computes attention for one batch of sequences."""
        return await self._answer(data, context, self._means.decoder.decode, encode_result)

    async def analyze_heads(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Computes what each head attends to, in figures."""
        return await self._answer(data, context, self._decode_analysis, encode_analysis)

    async def _answer(
        self,
        data: bytes,
        context: aio.ServicerContext[bytes, bytes],
        decode_request: Callable[[bytes], Decoded],
        encode_answer: Callable[[AttendResult, AnswerForm], bytes],
    ) -> bytes:
        """Returns the answer to a request, both as they travel."""
        means, budget = self._means, self._means.scheduler.budget
        arrived, deadline = time.monotonic(), deadline_of(context)
        context.add_done_callback(self._over)  # type: ignore[arg-type]  # any callable
        budget.take(context, len(data))
        with means.scheduler.reserved():
            request, form = await offload(means.executor, len(data), lambda: decode_request(data))
        budget.take(context, form.tensor_bytes)
        job = Job(request, deadline=deadline, arrived=arrived)
        del request
        result = await self._computed(job)
        del job  # and with it the request's tensors: the answer is large enough
        return await offload(means.executor, form.tensor_bytes, lambda: encode_answer(result, form))

    async def _computed(self, job: Job) -> AttendResult:
        """Returns the job's answer; gives it up where the caller does."""
        self._means.scheduler.submit(job)
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            del job  # an error knows this frame, and the answer the error: that would be a circle

    def _over(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        """Ends a call whose answer is with its caller, or which has none."""
        means = self._means
        means.freed_memory.call_over(means.scheduler.budget.give_back(context))

    def _decode_analysis(self, data: bytes) -> Decoded:
        catalog, limits = self._means.catalog, self._means.limits
        check_entries(pb.AnalyzeHeadsRequest, data, limits)
        return decode_analysis(parse(pb.AnalyzeHeadsRequest, data), catalog, limits)
