"""AttendStream: many requests on one open stream, each answered as it is done."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import cast

from grpc import aio

from attention_server.domain.errors import (
    Abandoned,
    DeadlinePassed,
    InvalidRequest,
    LimitExceeded,
    RequestError,
    ShuttingDown,
)
from attention_server.domain.request import AttendResult
from attention_server.edge.chunked_request import ChunkedRequest
from attention_server.edge.decode import Decoded
from attention_server.edge.means import Means
from attention_server.edge.open_requests import OpenRequests
from attention_server.edge.stream_request import StreamRequest, check_ids, first_id, seconds
from attention_server.edge.stream_writer import StreamWriter
from attention_server.edge.traffic import Ending, Traffic
from attention_server.edge.wire import deadline_of, offload
from attention_server.scheduling.job import Job
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["IDLE_SECONDS", "StreamHandlers"]

IDLE_SECONDS = 30.0
"""Time without a chunk after which a request that waits for one ends."""

_Context = aio.ServicerContext[bytes, bytes]


class StreamHandlers:
    """AttendStream."""

    def __init__(self, means: Means, traffic: Traffic) -> None:
        self._means = means
        self._traffic = traffic

    async def attend_stream(self, _: object, context: _Context) -> None:
        """Computes attention for many requests and answers each as it is done."""
        await _OpenStream(self._means, self._traffic, context).serve()


class _OpenStream:
    """Reads requests, answers each exactly once, and holds bounded memory meanwhile.

    One task reads and one writes. Between them there is no task for a request: engine threads tell
    the event loop what is computed, many answers at once where many come. A caller that writes and
    does not read is not read from after a while, and fills no more than its own window.
    """

    def __init__(self, means: Means, traffic: Traffic, context: _Context) -> None:
        self._means = means
        self._traffic = traffic
        self._context = context
        self._deadline = deadline_of(context)
        self._loop = asyncio.get_running_loop()
        self._requests = OpenRequests(means.scheduler.budget, IDLE_SECONDS)
        self._writer = StreamWriter()
        self._computed: deque[StreamRequest] = deque()  # filled by engine threads
        self._is_told = False  # that there are some
        self._alarm: asyncio.TimerHandle | None = None
        self._is_half_closed = self._drains = False
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def serve(self) -> None:
        """Returns once the caller closed its side and all is answered.

        Raises:
            ShuttingDown: The server drains, and nothing is unanswered.
            InvalidRequest: MALFORMED_MESSAGE: nobody knows which request it would be told to.
        """
        self._traffic.opened(self._drain)
        write = self._writer.write(self._context, self._requests.forget_name, self._close)
        reading, writing = (
            self._loop.create_task(self._until_over(work)) for work in (self._read(), write)
        )
        try:
            await self._over
        except asyncio.CancelledError:
            writing.cancel()
            raise
        finally:
            reading.cancel()
            self._give_up()
            # A write that is under way ends: gRPC, which could not know what of it was sent, would
            # never tell the caller how the stream ended.
            self._writer.stop()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _until_over(self, work: Awaitable[None]) -> None:
        try:
            await work
        except aio.InternalError:
            # Nothing can be sent any more: the caller is gone, of which gRPC tells a moment later.
            self._over.cancel()
        except Exception as error:  # noqa: BLE001 - it is raised where the stream is served
            self._end(error)

    async def _read(self) -> None:
        while True:
            await self._requests.has_room.wait()
            data = cast("bytes | object", await self._context.read())
            if not isinstance(data, bytes):  # the end
                break
            await self._take(data)
            del data
        self._is_half_closed = True
        for request in self._requests.in_chunks:
            self._fail(request, _cut_short(request))
        self._end_if_done()

    async def _take(self, data: bytes) -> None:
        """Does what one message says; to a request that is over nothing is done any more."""
        arrived, size = self._loop.time(), len(data)
        decoder = self._means.stream_decoder
        try:
            arrival = decoder.known(data)
            if arrival is None:
                arrival = await offload(self._means.executor, size, lambda: decoder.parse(data))
        except LimitExceeded as error:
            name = first_id(data)
            if not name:
                raise
            self._refuse(StreamRequest(name, arrived), error)
            return
        message, decoded = arrival
        part, known = message.WhichOneof("part"), self._requests.named(message.request_id)
        if part == "chunk":
            if known is not None and not known.is_settled:
                await self._append(known, message.chunk, arrived)
        elif part == "cancel":
            if known is not None:
                self._fail(known, Abandoned())
        else:
            await self._begin(StreamRequest(message.request_id, arrived), message, decoded, size)

    async def _begin(
        self,
        request: StreamRequest,
        message: pb.AttendStreamRequest,
        decoded: Callable[[], Decoded],
        size: int,
    ) -> None:
        """Takes a request in, or refuses it."""
        self._requests.add(request)
        try:
            self._traffic.begin()
            request.is_counted = True
            self._admit(request, message)
            self._requests.hold(request, size)
            if message.chunked:
                await self._announce(request, message.request, size)
            else:
                await self._decode(request, size, decoded)
        except Exception as error:  # noqa: BLE001 - the log has it, the caller an id
            self._fail(request, error)

    def _refuse(self, request: StreamRequest, error: RequestError) -> None:
        """Refuses a request of which nothing but its id is known."""
        self._requests.add(request)
        try:
            self._traffic.begin()
            request.is_counted = True
        except ShuttingDown as shutting_down:
            error = shutting_down
        self._writer.settle(request, error)

    def _admit(self, request: StreamRequest, message: pb.AttendStreamRequest) -> None:
        """Gives the request its name and its time."""
        check_ids(message)
        if not message.HasField("request"):
            raise InvalidRequest.of(
                Reason.MISSING_FIELD, "part", "must be a request, a chunk or a cancel"
            )
        self._requests.name(request)
        request.deadline = self._deadline
        if message.HasField("timeout"):
            own = request.arrived + seconds(message.timeout)
            request.deadline = own if self._deadline is None else min(own, self._deadline)
            if own <= request.arrived:
                raise DeadlinePassed
        self._set_alarm(self._requests.due(request))

    async def _announce(self, request: StreamRequest, message: pb.AttendRequest, size: int) -> None:
        """Prepares for the chunks of a request, of which all is right that can be said by now."""
        means = self._means

        def checked() -> ChunkedRequest:
            form = means.stream_decoder.check(message)
            return ChunkedRequest(message, form, means.stream_decoder.limits)

        with means.scheduler.reserved():
            chunks = await offload(means.executor, size, checked)
        if request.is_settled:
            return
        if not chunks.missing:
            await self._decode(request, size, chunks.decoded)
            return
        request.chunks = chunks
        self._requests.wait_for_chunks(request)
        self._set_alarm(self._requests.due(request))

    async def _append(self, request: StreamRequest, chunk: pb.TensorChunk, arrived: float) -> None:
        """Adds a chunk to its request; the last one completes it."""
        chunks = request.chunks
        try:
            if chunks is None:
                raise InvalidRequest.of(
                    Reason.INVALID_BYTE_LENGTH,
                    "chunk",
                    "must not follow a request that is complete",
                )
            data = chunk.data
            self._requests.hold(request, len(data))
            chunks.add(chunk.field, data)
            if data:
                request.heard = arrived
            if not chunks.missing:
                self._requests.complete(request)
                await self._decode(request, request.held_bytes, chunks.decoded)
        except Exception as error:  # noqa: BLE001 - the log has it, the caller an id
            self._fail(request, error)

    async def _decode(
        self, request: StreamRequest, size: int, decoded: Callable[[], Decoded]
    ) -> None:
        """Lets a complete request wait for an engine thread."""
        means = self._means
        with means.scheduler.reserved():
            attend, form = await offload(means.executor, size, decoded)
        if request.is_settled:  # its time is over
            return
        self._requests.hold(request, form.tensor_bytes)
        request.form = form
        job = Job(attend, deadline=request.deadline, arrived=request.arrived)
        request.job = job
        means.scheduler.submit(job)
        if job.answer.done():
            self._computed.append(request)
            self._collect()
        else:
            job.answer.add_done_callback(partial(self._tell, request))

    def _tell(self, request: StreamRequest, _: Future[AttendResult]) -> None:
        """Lets the event loop know that an answer is there, from any thread."""
        self._computed.append(request)
        if not self._is_told:  # set back before what is there is looked at: none is missed
            self._is_told = True
            self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        """Settles what is computed."""
        self._is_told = False
        while self._computed:
            request = self._computed.popleft()
            job, request.job = request.job, None  # they know each other: a circle
            if job is None or request.is_settled:
                continue
            error = job.answer.exception()
            self._writer.settle(request, job.answer.result() if error is None else error)

    def _fail(self, request: StreamRequest, error: BaseException) -> None:
        """Gives up a request whose last message is not written yet."""
        job, request.job = request.job, None
        if job is not None:
            job.abandon()
        self._requests.complete(request)
        request.deadline = None  # it is late once
        self._writer.settle(request, error)

    def _close(self, request: StreamRequest) -> None:
        """Lets go of a request that is over."""
        if request not in self._requests:
            return  # the stream is over
        self._means.freed_memory.call_over(self._requests.remove(request))
        if request.is_counted:
            self._traffic.end(request.ending)
        self._end_if_done()

    def _set_alarm(self, due: float) -> None:
        if due < math.inf and (self._alarm is None or due < self._alarm.when()):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(due, self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        """Ends requests whose time is over."""
        self._alarm = None
        for request, error in self._requests.late(self._loop.time()):
            self._fail(request, error)
        self._set_alarm(self._requests.next_due())

    def _drain(self) -> None:
        """Ends the stream as soon as nothing is unanswered: its caller shall go elsewhere."""
        self._drains = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._requests:
            if self._drains:
                self._end(ShuttingDown())
            elif self._is_half_closed:
                self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    def _give_up(self) -> None:
        """Lets go of all that is not over, for the stream is."""
        self._traffic.closed(self._drain)
        if self._alarm is not None:
            self._alarm.cancel()
        is_late = self._context.time_remaining() == 0
        for request in self._requests:
            job, request.job = request.job, None
            if job is not None:
                job.abandon()
            if not request.is_settled:
                request.is_settled = True
                request.ending = Ending.EXPIRED if is_late else Ending.CANCELLED
            self._close(request)


def _cut_short(request: StreamRequest) -> InvalidRequest:
    assert request.chunks is not None, "it waits for chunks"
    return InvalidRequest.of(
        Reason.INVALID_BYTE_LENGTH,
        f"{request.chunks.missing[0]}.data",
        "must be complete before the stream is closed",
    )
