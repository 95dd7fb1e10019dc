"""Protobuf's wire format by hand: for messages that no library would write.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int) -> bytes:
    """Returns a number as it travels; a negative one in ten bytes."""
    value %= 1 << 64
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def tag(number: int, wire_type: int) -> bytes:
    """Returns what stands before a field's value."""
    return varint(number << 3 | wire_type)


def number(field: int, value: int) -> bytes:
    """Returns a field that holds a number."""
    return tag(field, VARINT) + varint(value)


def delimited(field: int, value: bytes) -> bytes:
    """Returns a field that holds bytes: text, data, a message or a packed list."""
    return tag(field, DELIMITED) + varint(len(value)) + value


def group(field: int, value: bytes = b"", depth: int = 1) -> bytes:
    """Returns groups in groups, the innermost around the value."""
    return tag(field, START_GROUP) * depth + value + tag(field, END_GROUP) * depth
