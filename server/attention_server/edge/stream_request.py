"""One request on a stream, from its first message to the last of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attention_server.domain.errors import InvalidRequest
from attention_server.edge.chunked_request import ChunkedRequest
from attention_server.edge.encode import AnswerForm
from attention_server.edge.traffic import Ending
from attention_server.scheduling.job import Job
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

__all__ = ["StreamRequest", "check_ids", "first_id", "seconds"]

_MAX_ID_CHARACTERS = 128
_MOST_SECONDS = 315_576_000_000  # of a google.protobuf.Duration
_TAG_OF_ID = 0x0A  # field 1, of a length that follows


class StreamRequest:
    """Where a request stands. Belongs to one event loop."""

    __slots__ = (
        "arrived",
        "chunks",
        "deadline",
        "ending",
        "form",
        "heard",
        "held_bytes",
        "id",
        "is_counted",
        "is_settled",
        "job",
        "messages",
    )

    def __init__(self, request_id: str, arrived: float) -> None:
        self.id = request_id[:_MAX_ID_CHARACTERS]
        """As given, were it wrong: by what else would the caller know what is refused?"""
        self.arrived = arrived
        self.deadline: float | None = None
        """Time of time.monotonic, seconds, at which nobody waits any more."""
        self.held_bytes = 0
        """What it takes of the budget."""
        self.chunks: ChunkedRequest | None = None
        """Its tensors, as long as some of their data is missing."""
        self.heard = arrived
        """Time of time.monotonic, seconds, at which the last of that came."""
        self.job: Job | None = None
        """While it waits or runs."""
        self.form: AnswerForm | None = None
        """What its answer is made with."""
        self.is_settled = False
        """Whether it has an outcome. Until its last message is written that may still change."""
        self.messages: Iterator[tuple[bytes, bool]] | None = None
        """What is to be written once it is settled, each with whether it is the last."""
        self.ending = Ending.CANCELLED
        """As what it counts, were the stream to end now."""
        self.is_counted = False
        """Whether it counts as in flight."""


def first_id(data: bytes) -> str:
    """Returns the request_id of a message that is too much to be parsed; empty if it is not first.

    Serializers write fields in order.
    """
    short = data[2 : 2 + data[1]] if len(data) > 1 and data[0] == _TAG_OF_ID else b""
    return short.decode("ascii", "ignore") if len(short) <= _MAX_ID_CHARACTERS else ""


def check_ids(message: pb.AttendStreamRequest) -> None:
    """Refuses an id that is none, or two that differ.

    Raises:
        InvalidRequest: INVALID_NAME.
    """
    outer, inner = message.request_id, message.request.request_id
    if not (1 <= len(outer) <= _MAX_ID_CHARACTERS and outer.isascii() and outer.isprintable()):
        raise InvalidRequest.of(
            Reason.INVALID_NAME,
            "request_id",
            f"must have 1 to {_MAX_ID_CHARACTERS} printable ASCII characters",
        )
    if inner and inner != outer:
        raise InvalidRequest.of(
            Reason.INVALID_NAME, "request.request_id", "must be empty or the stream's request_id"
        )


def seconds(timeout: Duration) -> float:
    """Returns how long a request may take.

    Raises:
        InvalidRequest: OUT_OF_RANGE.
    """
    whole, nanos = timeout.seconds, timeout.nanos
    if abs(whole) > _MOST_SECONDS or abs(nanos) >= 10**9 or whole * nanos < 0:
        raise InvalidRequest.of(
            Reason.OUT_OF_RANGE,
            "timeout",
            f"must be within {_MOST_SECONDS} s, its nanos within a second and of the same sign",
        )
    return whole + nanos / 1e9
