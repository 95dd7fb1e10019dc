"""Messages whose large parts are put in as bytes, copied once.

Protobuf copies a bytes field where it is set and again where it is serialized. But a field that
occurs twice in a message is merged, and so are the messages on the way to it: a message serialized
without its data, followed by those fields once more with nothing but the data in them, is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from numpy.typing import NDArray

from attention_service.tensor import data_of

__all__ = ["BytesField", "spliced", "varint"]

_DELIMITED = 2  # wire type of what follows its own length: bytes and messages


class BytesField:
    """A bytes field in a message, or in a message within it.

    Args:
        message_type: The message that is serialized.
        path: The fields on the way to it, and itself: "request.mask.attn_bias.data" say.
    """

    def __init__(self, message_type: type[Message], path: str) -> None:
        tags = []
        holder: Any = message_type.DESCRIPTOR  # of either of protobuf's implementations
        for name in path.split("."):
            field = holder.fields_by_name[name]
            tags.append(varint(field.number << 3 | _DELIMITED))
            holder = field.message_type
        self._tags = tuple(reversed(tags))

    def header(self, size: int) -> bytes:
        """Returns what stands before as many bytes of data."""
        header = b""
        for tag in self._tags:
            start = tag + varint(size)
            header = start + header
            size += len(start)
        return header


def spliced(message: bytes, data: Iterable[tuple[BytesField, NDArray[Any] | bytes]]) -> bytes:
    """Returns the message with this data in it.

    Args:
        message: A serialized message in which these fields are empty.
        data: Each field, and what it shall hold: bytes, or an array as its data travels.
    """
    parts: list[Any] = [message]
    for field, content in data:
        buffer = content if isinstance(content, bytes) else data_of(content)
        parts += field.header(len(buffer) if isinstance(buffer, bytes) else buffer.nbytes), buffer
    return b"".join(parts)


def varint(value: int) -> bytes:
    """Returns a number in groups of 7 bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
