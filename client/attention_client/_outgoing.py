"""A request that is ready to be sent: as one message, or as the messages of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client.errors import RequestTooLargeError
from attention_service.reasons import Reason
from attention_service.tensor import data_of
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Outgoing", "cancellation"]

_MOST_BYTES_OF_A_MESSAGE = 2**31 - 2**20
"""What protobuf can write, whatever the server's limit, with room for all but the tensors."""

_LONGEST_SECONDS = 10_000 * 365 * 86_400.0
"""What a google.protobuf.Duration may say."""


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A request whose arrays stay where they are until they are sent."""

    frame: pb.AttendStreamRequest
    """The request, its tensors without their data."""
    request_id: str
    """As the caller named it; may be empty."""
    arrays: dict[str, NDArray[Any]]
    """The data of each tensor by its path, "mask.attn_bias" say."""
    nbytes: int
    """Bytes of all arrays."""

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
        request = self.frame.request
        request.request_id = self.request_id
        self._fill_in()
        return request

    def whole(self, stream_id: str, timeout: float) -> bytes:
        """Returns the one message of a stream that carries the request.

        Args:
            stream_id: Name of the request among those of the stream.
            timeout: Seconds that the server has.
        """
        self._fill_in()
        return self._head(stream_id, timeout, chunked=False)

    def pieces(self, stream_id: str, timeout: float, chunk_bytes: int) -> Iterator[bytes]:
        """Yields the messages of a stream that carry the request, each when it is asked for.

        Args:
            stream_id: Name of the request among those of the stream.
            timeout: Seconds that the server has.
            chunk_bytes: Most bytes of a tensor in one of the messages.
        """
        for path in self.arrays:
            self._tensor(path).ClearField("data")
        yield self._head(stream_id, timeout, chunked=True)
        for path, array in self.arrays.items():
            data = data_of(array).reshape(-1).view(np.uint8)
            for start in range(0, len(data), chunk_bytes):
                chunk = pb.TensorChunk(field=path, data=data[start : start + chunk_bytes].tobytes())
                yield pb.AttendStreamRequest(request_id=stream_id, chunk=chunk).SerializeToString()

    def _head(self, stream_id: str, timeout: float, *, chunked: bool) -> bytes:
        frame = self.frame
        frame.request_id = stream_id
        frame.request.request_id = ""  # the stream's says it
        frame.chunked = chunked
        seconds, rest = divmod(min(timeout, _LONGEST_SECONDS), 1)
        frame.timeout.seconds, frame.timeout.nanos = int(seconds), int(rest * 1e9)
        return frame.SerializeToString()

    def _fill_in(self) -> None:
        """Puts the arrays into the request."""
        for path, array in self.arrays.items():
            self._tensor(path).data = data_of(array).tobytes()

    def _tensor(self, path: str) -> pb.Tensor:
        request = self.frame.request
        mask, _, name = path.rpartition(".")
        tensor: pb.Tensor = getattr(request.mask if mask else request, name)
        return tensor


def cancellation(stream_id: str) -> bytes:
    """Returns the message that gives a request up."""
    cancel = pb.AttendStreamRequest(request_id=stream_id, cancel=pb.CancelRequest())
    return cancel.SerializeToString()
