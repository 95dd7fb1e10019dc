"""What a request may ask for: bounds, and the words in which server and SDK refuse more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from attention_service.reasons import Reason
from attention_service.shapes import Shapes

__all__ = ["Limits", "OverLimit"]

_ALWAYS_4_BYTES = ("weight_key_indices", "log_sum_exp")  # INT32 and FLOAT32
_AROUND_TENSORS = 4096  # names, shapes and settings of an answer take less


class OverLimit(Exception):
    """A request that asks for more than a server gives."""

    def __init__(self, reason: Reason, field: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason
        self.field = field
        """Path in the request, "outputs.weights.heads" say; empty where it is no field's fault."""
        self.description = description
        """What is too much, what would be right, and what helps."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one request; ``check`` methods raise OverLimit."""

    message_bytes: int
    """Largest message, either way."""
    batch: int
    """Most sequences."""
    length: int
    """Longest query and key, and longest list of heads or queries."""
    work: int
    """Largest batch * heads * query_len * kv_len."""
    stream_bytes: int
    """Largest request or answer on a stream, and largest tensor over all heads."""
    in_chunks: bool = False
    """Whether these are the bounds of a request on a stream; there ``message_bytes`` are all chunks
    together."""

    def on_stream(self) -> Limits:
        """Returns the bounds of a request on a stream."""
        return replace(self, message_bytes=self.stream_bytes, in_chunks=True)

    def check_message(self, size: int) -> None:
        """Refuses a message of more bytes than allowed."""
        if size > self.message_bytes:
            where = "on a stream" if self.in_chunks else "in a message"
            raise OverLimit(
                Reason.MESSAGE_LIMIT,
                "",
                f"the request takes {size} bytes, at most {self.message_bytes} fit {where}; "
                "send fewer sequences at once, or FLOAT16",
            )

    def check_sizes(self, batch: int, query_len: int, kv_len: int) -> None:
        """Refuses more sequences or longer ones than allowed."""
        if batch > self.batch:
            raise OverLimit(
                Reason.BATCH_LIMIT,
                "query",
                f"at most {self.batch} sequences at once, not {batch}; send several requests",
            )
        for name, length in (("query", query_len), ("key", kv_len)):
            if length > self.length:
                raise OverLimit(
                    Reason.LENGTH_LIMIT,
                    name,
                    f"at most {self.length} long, not {length}; send shorter sequences",
                )

    def check_work(self, batch: int, num_heads: int, query_len: int, kv_len: int) -> None:
        """Refuses more scores than allowed."""
        work = batch * num_heads * query_len * kv_len
        if work > self.work:
            raise OverLimit(
                Reason.WORK_LIMIT,
                "",
                f"batch * heads * query_len * kv_len may be {self.work} at most, not {work}; "
                "send fewer queries a request",
            )

    def check_entries(self, field: str, count: int) -> None:
        """Refuses a longer list of heads or queries than any query is long."""
        if count > self.length:
            raise OverLimit(
                Reason.LENGTH_LIMIT,
                field,
                f"at most {self.length} entries, not {count}; send several requests",
            )

    def check_heads(self, shapes: Shapes) -> None:
        """Refuses heads that no answer, on a stream or not, could hold; all are computed.

        Args:
            shapes: As ``head_shapes`` returns them.
        """
        for name, shape in shapes.items():
            size = 4 * math.prod(shape)
            if size > self.stream_bytes:
                raise OverLimit(
                    Reason.TENSOR_LIMIT,
                    "",
                    f"{name} {list(shape)} would take {size} bytes, a tensor over all heads may "
                    f"take {self.stream_bytes} at most; send fewer or shorter sequences",
                )

    def check_answer(self, shapes: Shapes, item_bytes: int) -> int:
        """Returns the bytes of an answer's tensors; refuses an answer that is too large.

        Args:
            shapes: As ``answer_shapes`` returns them.
            item_bytes: Size of an element of the answer's floating-point tensors.
        """
        size = sum(
            math.prod(shape) * (4 if name in _ALWAYS_4_BYTES else item_bytes)
            for name, shape in shapes.items()
        )
        largest = self.message_bytes - _AROUND_TENSORS
        if size > largest:
            others = "or send fewer sequences"
            if not self.in_chunks and size <= self.stream_bytes - _AROUND_TENSORS:
                others = "send fewer sequences, or use AttendStream"
            raise OverLimit(
                Reason.ANSWER_LIMIT,
                "outputs",
                f"the answer would hold {size} bytes of tensors, at most {largest} fit; select "
                f"heads or query_indices, use top_k, ask for FLOAT16, {others}",
            )
        return size
