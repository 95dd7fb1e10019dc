"""A stream as any language would open it: messages in, messages out, over a socket."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grpc

from attention_service.v1 import attention_pb2 as pb
from tests.wire import SERVICE, Refusal, Wire

_PATIENCE_SECONDS = 60
_TENSORS = ("query", "key", "value", "query_positions", "key_positions")
_MASKS = ("key_mask", "attend_mask", "attn_bias")


def request(request_id: str, attend: pb.AttendRequest, **fields: Any) -> pb.AttendStreamRequest:
    """Returns the message that carries a whole request."""
    return pb.AttendStreamRequest(request_id=request_id, request=attend, **fields)


def chunk(request_id: str, field: str, data: bytes) -> pb.AttendStreamRequest:
    """Returns the message that carries a piece of a tensor."""
    return pb.AttendStreamRequest(
        request_id=request_id, chunk=pb.TensorChunk(field=field, data=data)
    )


def cancel(request_id: str) -> pb.AttendStreamRequest:
    """Returns the message that gives a request up."""
    return pb.AttendStreamRequest(request_id=request_id, cancel=pb.CancelRequest())


def in_chunks(
    request_id: str, attend: pb.AttendRequest, size: int, **fields: Any
) -> Iterator[pb.AttendStreamRequest]:
    """Yields the messages that carry a request whose tensors come in pieces of this size."""
    short = pb.AttendRequest.FromString(attend.SerializeToString())
    data: dict[str, bytes] = {}
    holders: tuple[tuple[Any, tuple[str, ...], str], ...] = (
        (short, _TENSORS, ""),
        (short.mask, _MASKS, "mask."),
    )
    for holder, names, prefix in holders:
        for name in names:
            if holder.HasField(name):
                tensor = getattr(holder, name)
                data[prefix + name] = tensor.data
                tensor.ClearField("data")
    yield request(request_id, short, chunked=True, **fields)
    for path, whole in data.items():
        for start in range(0, len(whole), size):
            yield chunk(request_id, path, whole[start : start + size])


class Stream:
    """One open stream."""

    def __init__(self, wire: Wire, *, timeout: float | None = _PATIENCE_SECONDS) -> None:
        method: Any = wire.channel.stream_stream(f"/{SERVICE}/AttendStream")
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = method(iter(self._outgoing.get, None), timeout=timeout)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self.call.cancel()

    def send(self, *messages: pb.AttendStreamRequest | bytes) -> None:
        """Sends messages, some time."""
        for message in messages:
            self._outgoing.put(
                message if isinstance(message, bytes) else message.SerializeToString()
            )

    def close(self) -> None:
        """Says that nothing more will be sent."""
        self._outgoing.put(None)

    def read(self) -> pb.AttendStreamResponse:
        """Returns the next message, as it comes."""
        return pb.AttendStreamResponse.FromString(next(self.call))

    def answer(self) -> pb.AttendStreamResponse:
        """Returns the next answer, all its chunks in it, or error; no other may come between."""
        first = self.read()
        if not first.chunked:
            return first
        while (field := _incomplete(first.response)) is not None:
            more = self.read()
            assert (more.request_id, more.WhichOneof("part")) == (first.request_id, "chunk")
            assert more.chunk.field == field
            getattr(first.response, field).data += more.chunk.data
        return first

    def rest(self) -> list[pb.AttendStreamResponse]:
        """Closes the stream and returns what is still answered; it must end well."""
        self.close()
        rest = [pb.AttendStreamResponse.FromString(data) for data in self.call]
        assert self.call.code() is grpc.StatusCode.OK
        return rest

    def ended(self) -> tuple[list[pb.AttendStreamResponse], Refusal | None]:
        """Closes the stream and returns what is still answered, and why it ended, if not well."""
        self.close()
        rest: list[pb.AttendStreamResponse] = []
        try:
            rest.extend(map(pb.AttendStreamResponse.FromString, self.call))
        except grpc.RpcError as error:
            return rest, Refusal.of(error)
        return rest, None

    def refusal(self) -> Refusal:
        """Returns the status that ends the stream, before it answers anything more."""
        try:
            answer = next(self.call)
        except grpc.RpcError as error:
            return Refusal.of(error)
        raise AssertionError(f"answered with {len(answer)} bytes")


def _incomplete(answer: pb.AttendResponse) -> str | None:
    item_bytes = {pb.DATA_TYPE_FLOAT16: 2, pb.DATA_TYPE_BFLOAT16: 2}
    for field, value in answer.ListFields():
        if isinstance(value, pb.Tensor):
            size = item_bytes.get(value.data_type, 4)
            for dim in value.shape:
                size *= dim
            if len(value.data) < size:
                return str(field.name)
    return None
