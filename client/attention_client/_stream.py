"""One open stream: requests go out, and each is told its outcome once.

What is the same for both clients: names of requests, answers by name, and what it means that the
stream ends. A client adds how messages are sent, and where they arrive.
"""

from __future__ import annotations

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from attention_client._incoming import Answer, ChunkedAnswer
from attention_client._outgoing import Outgoing, cancellation
from attention_client._status import error_from_stream
from attention_client.errors import ProtocolError
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["NoStream", "Outcome", "Settle", "Stream", "Uploads"]

_MOST_CHUNK_BYTES = 1 << 20
"""Requests with more bytes of tensors are sent in pieces, so that no other waits for them long."""

_MOST_IN_TURNS = 4
"""A server refuses what is begun while 16 requests of a stream are incomplete."""

_OLD_AFTER_SECONDS = 240.0
"""A server ends its connections in time, and gives the calls of one minutes to come to an end:
far more than this, so that no request is cut off."""

_UNANSWERED_SECONDS = 5.0
_SILENT_SECONDS = 60.0
_REFUSED_SECONDS = 600.0


class NoStream(Exception):
    """The stream ended in a status that speaks of the stream, not of a request.

    The server has none, or what is between does not let one pass.
    """


Outcome: TypeAlias = Answer | Exception
"""An answer, an AttentionError, grpc.RpcError where the connection broke, or NoStream."""

Settle: TypeAlias = Callable[[Outcome], None]
"""Tells who waits what came of a request, in any thread."""


class Uploads:
    """Requests that are sent in pieces: a few in turns, the others after them."""

    def __init__(self) -> None:
        self._pieces: deque[Iterator[bytes]] = deque()
        self._later: deque[Iterator[bytes]] = deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, pieces: Iterator[bytes]) -> None:
        """Takes the pieces of one more request."""
        has_room = len(self._pieces) < _MOST_IN_TURNS
        (self._pieces if has_room else self._later).append(pieces)

    def next(self) -> bytes | None:
        """Returns a piece of the request whose turn it is; None where that was all of it."""
        pieces = self._pieces.popleft()
        piece = next(pieces, None)
        if piece is not None:
            self._pieces.append(pieces)
        elif self._later:
            self._pieces.append(self._later.popleft())
        return piece


class Stream(ABC):
    """Requests on their way, each with somebody who waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, Settle] = {}
        self._coming: dict[str, ChunkedAnswer] = {}
        self._given_up: set[str] = set()  # an answer to one of these may still be under way
        self._numbers = itertools.count(1)
        self._old_at = time.monotonic() + _OLD_AFTER_SECONDS
        # Reentrant: a client that nobody has closes its streams where garbage is collected, which
        # may be in the thread that holds this.
        self._guard = threading.RLock()
        self._heard = False
        self._retired = False
        self._end: Exception | None = None
        self.avoid_until = 0.0
        """Time of time.monotonic() until which requests do better without a stream."""

    @property
    def is_open(self) -> bool:
        """Whether more requests may be sent."""
        return not self._retired and time.monotonic() < self._old_at

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more, nor will."""
        return self._end is not None

    @abstractmethod
    def _send(self, what: bytes | Iterator[bytes] | None) -> None:
        """Sends a message, or pieces one by one, or, with None, says that these were all."""

    @abstractmethod
    def _cancel(self) -> None:
        """Ends the call."""

    def ask(self, request: Outgoing, *, timeout: float, message_bytes: int, settle: Settle) -> str:
        """Sends a request and returns its name on the stream.

        Args:
            request: The request.
            timeout: Seconds that the server has.
            message_bytes: Largest message that the server takes.
            settle: Called once, unless the request is given up before.
        """
        with self._guard:  # nobody is added after all were told the end
            stream_id = self._name(request.request_id)
            end = self._end
            if end is None:
                self._waiting[stream_id] = settle
        if end is not None:
            settle(end)
            return stream_id
        chunk_bytes = min(_MOST_CHUNK_BYTES, message_bytes // 2)
        if request.nbytes <= chunk_bytes:
            self._send(request.whole(stream_id, timeout))
        else:
            pieces = request.pieces(stream_id, timeout, chunk_bytes)
            self._send(self._while_wanted(stream_id, settle, pieces))
        return stream_id

    def _while_wanted(
        self, stream_id: str, settle: Settle, pieces: Iterator[bytes]
    ) -> Iterator[bytes]:
        """Yields the pieces until nobody waits for this request; another may have its name then."""
        while self._waiting.get(stream_id) is settle:
            piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def give_up(self, stream_id: str, settle: Settle) -> None:
        """Tells the server that nobody waits for this answer any more, unless it has come."""
        if self._waiting.get(stream_id) is not settle:  # it was answered: so it is most often
            return
        with self._guard:
            if self._waiting.get(stream_id) is not settle:  # another may have the name by now
                return
            self._waiting.pop(stream_id, None)
            self._coming.pop(stream_id, None)
            self._given_up.add(stream_id)
            self._send(cancellation(stream_id))  # before any other request of the name

    def retire(self) -> None:
        """Takes no more requests; those on their way are answered."""
        if not self._retired:
            self._retired = True
            self._send(None)

    def note_timeout(self) -> None:
        """Takes no more requests where one's time is over and nothing ever came.

        What is between may hold streams back until they end.
        """
        if not self._heard:
            self.avoid_until = max(self.avoid_until, time.monotonic() + _SILENT_SECONDS)
            self.retire()

    def close(self, outcome: Exception) -> None:
        """Ends the stream; whoever waits gets this outcome."""
        self._ended(outcome)
        self._cancel()

    def _received(self, data: bytes) -> None:
        """Tells the outcome to who waits for it, if this message completes one."""
        try:
            message = pb.AttendStreamResponse.FromString(data)
        except DecodeError:
            self.close(ProtocolError("the answer is no message of the contract"))
            return
        self._heard = True
        stream_id = message.request_id
        with self._guard:
            if stream_id not in self._waiting:
                if not message.HasField("chunk") and not message.chunked:
                    self._given_up.discard(stream_id)  # this was the end of it
                return
            try:
                outcome = self._outcome(message)
            except ProtocolError as error:
                self._given_up.add(stream_id)
                self._send(cancellation(stream_id))
                outcome = error
            if outcome is None:
                return
            self._coming.pop(stream_id, None)
            settle = self._waiting.pop(stream_id, None)
        if settle is not None:
            settle(outcome)

    def _outcome(self, message: pb.AttendStreamResponse) -> Outcome | None:
        """Returns what came of a request; None as long as more is to come."""
        part = message.WhichOneof("part")
        if part == "response" and not message.chunked:
            return Answer(message.response)
        if part == "error":
            error = error_from_stream(message.error)
            if error.reason is Reason.SHUTTING_DOWN:
                self.retire()  # the next one may find another server
            return error
        coming = self._coming.get(message.request_id)
        if part == "response":
            coming = self._coming[message.request_id] = ChunkedAnswer(message.response)
        elif part == "chunk" and coming is not None:
            coming.add(message.chunk)
        else:
            raise ProtocolError("a piece came before the answer that it belongs to")
        return coming.complete()

    def _broke(self, rpc_error: grpc.RpcError | None) -> None:
        """Ends the stream as its call ended; None for a call that ended well."""
        code = None if rpc_error is None else cast("grpc.Call", rpc_error).code()
        outcome: Exception = NoStream()
        if rpc_error is not None and code is grpc.StatusCode.UNAVAILABLE:
            outcome, seconds = rpc_error, 0.0 if self._heard else _UNANSWERED_SECONDS
        else:
            seconds = 0.0 if self._heard or self._retired else _REFUSED_SECONDS
        self.avoid_until = max(self.avoid_until, time.monotonic() + seconds)
        self._ended(outcome)

    def _ended(self, outcome: Exception) -> None:
        """Tells all who wait that the stream is over."""
        with self._guard:
            if self._end is not None:
                return
            self._end = outcome
            self._retired = True
            waiting, self._waiting = self._waiting, {}
            self._coming.clear()
        for settle in waiting.values():
            settle(outcome)

    def _name(self, request_id: str) -> str:
        """Returns the caller's name for a request, where a stream can carry it, or a number."""
        usable = request_id and request_id.isascii() and request_id.isprintable()
        if usable and self._is_free(request_id):
            return request_id
        while not self._is_free(name := str(next(self._numbers))):
            pass
        return name

    def _is_free(self, name: str) -> bool:
        return name not in self._waiting and name not in self._given_up
