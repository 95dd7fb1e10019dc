"""The messages of a stream that carry an answer."""

from __future__ import annotations

from collections.abc import Iterator

from attention_server.domain.request import AttendResult
from attention_server.edge.encode import ANSWER_TENSORS, AnswerForm, encode_small, narrow
from attention_service.spliced import BytesField, spliced
from attention_service.v1 import attention_pb2 as pb

__all__ = ["CHUNK_BYTES", "answer_messages", "error_messages"]

CHUNK_BYTES = 1 << 20
"""A tensor of more bytes comes in pieces of as many."""

_RESPONSE = BytesField(pb.AttendStreamResponse, "response")  # a message is bytes too
_CHUNK = BytesField(pb.AttendStreamResponse, "chunk.data")
_DATA = {
    name: BytesField(pb.AttendStreamResponse, f"response.{name}.data") for name in ANSWER_TENSORS
}


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
    answer, small = encode_small(result, form, announced=large)
    del result
    whole = spliced(
        message.SerializeToString(),
        [(_RESPONSE, answer), *((_DATA[name], array) for name, array in small.items())],
    )
    del small
    yield whole, not large
    del whole
    while large:
        name, *others = large
        flat = large.pop(name).reshape(-1)
        count = CHUNK_BYTES // flat.itemsize
        message = pb.AttendStreamResponse(request_id=request_id, chunk=pb.TensorChunk(field=name))
        head = message.SerializeToString()
        for start in range(0, flat.size, count):
            piece = narrow(flat[start : start + count], name, form)
            whole = spliced(head, [(_CHUNK, piece)])
            yield whole, not others and start + count >= flat.size
            del whole
