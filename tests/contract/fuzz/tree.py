"""A message as fields that may be changed, whether the result is a message or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.encoding import DELIMITED, FIXED32, FIXED64, START_GROUP, VARINT, group, tag, varint

FIXED_BYTES = {FIXED32: 4, FIXED64: 8}


@dataclass
class Field:
    """A field as it travels."""

    number: int
    wire_type: int
    value: int | bytes | list[Field]
    """A number, bytes, or the fields of a message."""
    lie: int = 0
    """How much longer its length says that it is."""


def parse(known: Mapping[int, Any], data: bytes) -> list[Field]:
    """Returns the fields of a good message."""
    return list(_parse(known, data))


def encode(fields: list[Field]) -> bytes:
    """Returns the fields' bytes, one after the other."""
    return b"".join(map(_encode, fields))


def copy(fields: list[Field]) -> list[Field]:
    """Returns fields that change on their own."""
    return [
        replace(field, value=copy(field.value) if isinstance(field.value, list) else field.value)
        for field in fields
    ]


def messages(fields: list[Field]) -> Iterator[list[Field]]:
    """Yields the fields of a message, then those of each message inside it."""
    yield fields
    for field in fields:
        if isinstance(field.value, list):
            yield from messages(field.value)


def _encode(field: Field) -> bytes:
    if isinstance(field.value, int):
        return tag(field.number, VARINT) + varint(field.value)
    value = encode(field.value) if isinstance(field.value, list) else field.value
    if field.wire_type == START_GROUP:
        return group(field.number, value)
    if field.wire_type == DELIMITED:
        return tag(field.number, DELIMITED) + varint(len(value) + field.lie) + value
    return tag(field.number, field.wire_type) + value


def _parse(known: Mapping[int, Any], data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, at = _varint(data, at)
            yield Field(number, wire_type, value)
            continue
        size = FIXED_BYTES.get(wire_type, 0)
        if wire_type == DELIMITED:
            size, at = _varint(data, at)
        content, at = data[at : at + size], at + size
        inner = known[number].message_type
        yield Field(
            number, wire_type, content if inner is None else parse(inner.fields_by_number, content)
        )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] > 0x7F:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
