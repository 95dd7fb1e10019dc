"""Serialized messages taken apart: large fields as views, and the rest as a message of its own.

Protobuf copies a bytes field where it parses it and again where it is read. What is taken out here
is not copied at all, and the rest, which is short and often the same, can be known by its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message

from attention_service.spliced import varint

__all__ = ["Apart", "Seams"]

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_MOST_LENGTH_BYTES = 4  # 256 MiB: more than a message has that is worth it
_MOST_FIELDS = 64
"""Of a message that is taken apart: in Python each takes as long as hundreds in protobuf."""
_MOST_BYTES_LEFT = 4096
"""Of a field that is no part: the rest is short, or to copy it and know it takes long."""

_Node: TypeAlias = "dict[int, str | _Node | None]"
"""By tag: the name of a part, or the fields within it; None for what excludes one of these."""


class Apart(NamedTuple):
    """A message without some of its fields, and these, by their names."""

    rest: bytes
    parts: dict[str, memoryview]


class Seams:
    """Fields of bytes, or strings, or messages, that are taken out of messages of one type.

    Args:
        message_type: The messages that are serialized.
        paths: The fields by the names of the parts: "request.mask.attn_bias.data" say.
    """

    def __init__(self, message_type: type[Message], paths: Mapping[str, str]) -> None:
        self._fields: _Node = {}
        for part, path in paths.items():
            fields: Any = self._fields
            holder: Any = message_type.DESCRIPTOR  # of either of protobuf's implementations
            *outer, last = path.split(".")
            for name in outer:
                field = holder.fields_by_name[name]
                inside = fields.setdefault(field.number << 3 | _DELIMITED, {})
                if field.containing_oneof is not None:  # who sets another of these clears this one
                    for other in field.containing_oneof.fields:
                        assert other.message_type, "of another type it would have another tag"
                        fields.setdefault(other.number << 3 | _DELIMITED)
                fields = inside
                holder = field.message_type
            fields[holder.fields_by_name[last].number << 3 | _DELIMITED] = part

    def take_apart(self, data: bytes) -> Apart | None:
        """Returns the parts of a message; None for one that is left to protobuf.

        That is one with a part twice, or with another of the same oneof; one with many fields, or
        with a large one that is no part; one with tags and lengths that serializers do not write;
        and what is no message at all.
        """
        walk = _Walk(data)
        try:
            rest = walk.message(self._fields, 0, len(data))
        except (_UnusualError, IndexError):
            return None
        return Apart(rest, walk.parts)


class _Walk:
    """Goes through one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._left = _MOST_FIELDS
        self.parts: dict[str, memoryview] = {}

    def message(self, fields: _Node, at: int, end: int) -> bytes:
        """Returns what stands from ``at`` to ``end`` without the parts that are taken out."""
        data, kept, kept_from = self._data, [], at
        while at < end:
            start, tag = at, data[at]
            at += 1
            self._left -= 1
            if tag > 0x7F or not self._left:
                raise _UnusualError
            wire_type = tag & 7
            if wire_type == _DELIMITED:
                size = data[at]
                at += 1
                if size > 0x7F:  # most are of one byte
                    size, at = self._varint(at - 1, _MOST_LENGTH_BYTES)
                stop = at + size
                if stop > end:
                    raise _UnusualError
                if tag in fields:
                    inside = fields[tag]
                    kept.append(data[kept_from:start])
                    kept_from = stop
                    if isinstance(inside, str):
                        if inside in self.parts:
                            raise _UnusualError
                        self.parts[inside] = self._view[at:stop]
                    elif inside is None:
                        raise _UnusualError
                    else:
                        rest = self.message(inside, at, stop)
                        kept += data[start : start + 1], varint(len(rest)), rest
                elif size > _MOST_BYTES_LEFT:
                    raise _UnusualError
                at = stop
            elif wire_type == _VARINT:
                _, at = self._varint(at, _MOST_VARINT_BYTES)
            elif wire_type == _FIXED32:
                at += 4
            elif wire_type == _FIXED64:
                at += 8
            else:
                raise _UnusualError
        if at != end:
            raise _UnusualError
        if not kept:
            return data[kept_from:end]
        kept.append(data[kept_from:end])
        return b"".join(kept)

    def _varint(self, at: int, most_bytes: int) -> tuple[int, int]:
        """Returns the number that stands there, and where it ends."""
        value = 0
        for shift in range(0, 7 * most_bytes, 7):
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return value, at
        raise _UnusualError


class _UnusualError(Exception):
    """To be left to protobuf."""
