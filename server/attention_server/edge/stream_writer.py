"""What answers the requests of a stream, written as it is known."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from grpc import aio

from attention_server.domain.request import AttendResult
from attention_server.edge.status import in_band, status_of
from attention_server.edge.stream_answers import answer_messages, error_messages
from attention_server.edge.stream_request import StreamRequest
from attention_server.edge.traffic import Ending

__all__ = ["StreamWriter"]


class StreamWriter:
    """Writes one message after the other, as fast as the caller reads.

    Of several answers in chunks each gives one in turn: a short answer waits for no long one.
    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._settled: deque[StreamRequest] = deque()
        self._wakes = asyncio.Event()
        self._is_stopped = False

    def settle(self, request: StreamRequest, outcome: AttendResult | BaseException) -> None:
        """Has an outcome written; in place of the rest of another, where that is on its way."""
        if isinstance(outcome, AttendResult):
            assert request.form is not None, "it was computed"
            request.messages = answer_messages(request.id, outcome, request.form)
            request.ending = Ending.ANSWERED
        else:
            request.messages = error_messages(request.id, in_band(status_of(outcome)))
            request.ending = Ending.of(outcome)
        if not request.is_settled:
            request.is_settled = True
            self._settled.append(request)
            self._wakes.set()

    def stop(self) -> None:
        """Lets the writing end with the message that is being written."""
        self._is_stopped = True
        self._settled.clear()
        self._wakes.set()

    async def write(
        self,
        context: aio.ServicerContext[bytes, bytes],
        completes: Callable[[StreamRequest], None],
        completed: Callable[[StreamRequest], None],
    ) -> None:
        """Writes until it is stopped.

        Args:
            context: Where to.
            completes: Called before the last message of a request is written.
            completed: Called after it.
        """
        while not self._is_stopped:
            if not self._settled:
                self._wakes.clear()
                await self._wakes.wait()
                continue
            request = self._settled.popleft()
            assert request.messages is not None, "it is settled"
            try:
                data, is_last = next(request.messages)
            except Exception as error:  # noqa: BLE001 - the log has it, and the caller an id
                self.settle(request, error)
                data, is_last = next(request.messages)
            if is_last:
                request.messages = None
                completes(request)
            await context.write(data)
            if is_last:
                completed(request)
            else:
                self._settled.append(request)
            del request, data  # an idle writer holds no answer
