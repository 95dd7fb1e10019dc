"""The messages of a stream that carry an answer."""

from __future__ import annotations

from collections.abc import Iterator

from attention_server.domain.request import AttendResult
from attention_server.edge.decode import AnswerForm
from attention_server.edge.encode import fill_response, narrow
from attention_service.v1 import attention_pb2 as pb

__all__ = ["CHUNK_BYTES", "answer_messages", "error_messages"]

CHUNK_BYTES = 1 << 20
"""A tensor of more bytes comes in pieces of as many."""


def error_messages(request_id: str, error: pb.Error) -> Iterator[tuple[bytes, bool]]:
    """Yields the one message, and that it is the last."""
    yield pb.AttendStreamResponse(request_id=request_id, error=error).SerializeToString(), True


def answer_messages(
    request_id: str, result: AttendResult, form: AnswerForm
) -> Iterator[tuple[bytes, bool]]:
    """Yields each message, made when it is asked for, and whether it is the last.

    What is large is copied piece by piece: no message holds it, and each tensor is let go of when
    its last piece is made.
    """
    large = {}
    if form.tensor_bytes > CHUNK_BYTES:
        tensors = result.tensors()
        large = {name: tensors[name] for name in tensors if tensors[name].nbytes > CHUNK_BYTES}
        del tensors
    message = pb.AttendStreamResponse(request_id=request_id, chunked=bool(large))
    fill_response(message.response, result, form, announced=large)
    del result
    yield message.SerializeToString(), not large
    del message
    while large:
        name, *others = large
        flat = large.pop(name).reshape(-1)
        count = CHUNK_BYTES // flat.itemsize
        for start in range(0, flat.size, count):
            data = narrow(flat[start : start + count], name, form).tobytes()
            chunk = pb.TensorChunk(field=name, data=data)
            message = pb.AttendStreamResponse(request_id=request_id, chunk=chunk)
            yield message.SerializeToString(), not others and start + count >= flat.size
