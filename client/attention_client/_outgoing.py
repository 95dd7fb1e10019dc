"""A request that is ready to be sent: as one message, or as the messages of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from attention_client.errors import RequestTooLargeError
from attention_service.reasons import Reason
from attention_service.spliced import BytesField, spliced
from attention_service.tensor import data_of
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Outgoing", "cancellation"]

_MOST_BYTES_OF_A_MESSAGE = 2**31 - 2**20
"""What protobuf can write, whatever the server's limit, with room for all but the tensors."""

_LONGEST_SECONDS = 10_000 * 365 * 86_400.0
"""What a google.protobuf.Duration may say."""


_TENSORS = (
    *("query", "key", "value", "query_positions", "key_positions"),
    *("mask.key_mask", "mask.attend_mask", "mask.attn_bias"),
)
_DATA = {path: BytesField(pb.AttendStreamRequest, f"request.{path}.data") for path in _TENSORS}
_CHUNK = BytesField(pb.AttendStreamRequest, "chunk.data")


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A request whose arrays stay where they are until they are sent."""

    request: pb.AttendRequest
    """The request without its name, its tensors without their data."""
    request_id: str
    """As the caller named it; may be empty."""
    arrays: dict[str, NDArray[Any]]
    """The data of each tensor by its path, "mask.attn_bias" say."""
    nbytes: int
    """Bytes of all arrays."""

    @cached_property
    def frame(self) -> bytes:
        """A message of a stream with the request and nothing else; the same for its like."""
        return pb.AttendStreamRequest(request=self.request).SerializeToString()

    def message(self) -> pb.AttendRequest:
        """Returns the request as one message.

        Raises:
            RequestTooLargeError: More than any message holds.
        """
        if self.nbytes > _MOST_BYTES_OF_A_MESSAGE:
            raise RequestTooLargeError(
                f"the arrays have {self.nbytes} bytes, but a message holds less than 2 GiB: "
                "send fewer sequences at once",
                reason=Reason.MESSAGE_LIMIT,
            )
        request = pb.AttendRequest()
        request.CopyFrom(self.request)
        request.request_id = self.request_id
        for path, array in self.arrays.items():
            mask, _, name = path.rpartition(".")
            holder: Any = request.mask if mask else request
            getattr(holder, name).data = data_of(array).tobytes()
        return request

    def whole(self, stream_id: str, timeout: float) -> bytes:
        """Returns the one message of a stream that carries the request.

        Args:
            stream_id: Name of the request among those of the stream.
            timeout: Seconds that the server has.
        """
        head = self.frame + _envelope(stream_id, timeout)
        return spliced(head, [(_DATA[path], array) for path, array in self.arrays.items()])

    def pieces(self, stream_id: str, timeout: float, chunk_bytes: int) -> Iterator[bytes]:
        """Yields the messages of a stream that carry the request, each when it is asked for.

        Args:
            stream_id: Name of the request among those of the stream.
            timeout: Seconds that the server has.
            chunk_bytes: Most bytes of a tensor in one of the messages.
        """
        yield self.frame + _envelope(stream_id, timeout, chunked=True)
        for path, array in self.arrays.items():
            head = pb.AttendStreamRequest(request_id=stream_id, chunk=pb.TensorChunk(field=path))
            head_bytes = head.SerializeToString()
            data = data_of(array).reshape(-1).view(np.uint8)
            for start in range(0, len(data), chunk_bytes):
                yield spliced(head_bytes, [(_CHUNK, data[start : start + chunk_bytes])])


def _envelope(stream_id: str, timeout: float, *, chunked: bool = False) -> bytes:
    """Returns all of a stream's message but its request, whose bytes go before or after these."""
    seconds, rest = divmod(min(timeout, _LONGEST_SECONDS), 1)
    return pb.AttendStreamRequest(
        request_id=stream_id,
        chunked=chunked,
        timeout=Duration(seconds=int(seconds), nanos=int(rest * 1e9)),
    ).SerializeToString()


def cancellation(stream_id: str) -> bytes:
    """Returns the message that gives a request up."""
    cancel = pb.AttendStreamRequest(request_id=stream_id, cancel=pb.CancelRequest())
    return cancel.SerializeToString()
