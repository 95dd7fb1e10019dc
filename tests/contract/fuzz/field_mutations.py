"""Damage to fields: the lengths around them stay right, so that it gets past the parser."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from tests.contract.fuzz.byte_mutations import BYTE_MUTATIONS, EDGES
from tests.contract.fuzz.chance import Chance
from tests.contract.fuzz.tree import FIXED_BYTES, Field, copy, messages
from tests.encoding import DELIMITED, START_GROUP, VARINT, varint

_LARGEST = float(np.finfo(np.float32).max)
_FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e19, -1e19, _LARGEST, -_LARGEST)
_DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
_TEXTS = (b"", b"sdpa", b"layer", b"demo", b"2", b"10", b"../x", b"\xff", b"\0", b"x" * 129)
_LARGEST_FIELD = 2**29 - 1


def drop(chance: Chance, fields: list[Field]) -> None:
    message, at = _place(chance, fields)
    del message[at : at + 1]


def repeat(chance: Chance, fields: list[Field]) -> None:
    message, at = _place(chance, fields)
    message[chance.place(message) : 0] = copy(message[at : at + 1])


def move(chance: Chance, fields: list[Field]) -> None:
    """Puts a field elsewhere, in another message maybe."""
    message, at = _place(chance, fields)
    moved = message[at : at + 1]
    del message[at : at + 1]
    to = chance.one_of(list(messages(fields)))  # not inside what was moved
    to[chance.place(to) : 0] = moved


def renumber(chance: Chance, fields: list[Field]) -> None:
    for field in _one(chance, fields):
        field.number = chance.one_of((*range(1, 17), 99, _LARGEST_FIELD))


def retype(chance: Chance, fields: list[Field]) -> None:
    """Gives a field another wire type."""
    for field in _one(chance, fields):
        content = field.value if isinstance(field.value, bytes) else varint(chance.one_of(EDGES))
        field.wire_type = chance.one_of((VARINT, DELIMITED, START_GROUP, *FIXED_BYTES))
        if field.wire_type == VARINT:
            field.value = chance.one_of(EDGES)
        elif field.wire_type in FIXED_BYTES:
            size = FIXED_BYTES[field.wire_type]
            field.value = content[:size].ljust(size, b"\0")
        elif isinstance(field.value, int):
            field.value = content


def change_number(chance: Chance, fields: list[Field]) -> None:
    """Changes a number, or one of a packed list."""
    for field in _one(chance, fields, VARINT, DELIMITED):
        if isinstance(field.value, int):
            near = (field.value + 1, field.value - 1, field.value * 2, chance.one_of(EDGES))
            field.value = chance.one_of(near)
        elif isinstance(field.value, bytes):
            at = chance.place(field.value)
            edge = varint(chance.one_of(EDGES))
            field.value = field.value[:at] + edge + field.value[at + 1 :]


def set_float(chance: Chance, fields: list[Field]) -> None:
    """Puts a number of three types, at a place of its own, where numbers may stand."""
    for field in _one(chance, fields, DELIMITED, *FIXED_BYTES):
        if isinstance(field.value, bytes):
            with np.errstate(over="ignore"):
                number = np.array(chance.one_of(_FLOATS)).astype(chance.one_of(_DTYPES)).tobytes()
            at = chance.below(len(field.value) // len(number) + 1) * len(number)
            changed = field.value[:at] + number + field.value[at + len(number) :]
            field.value = changed[: len(field.value)]


def resize(chance: Chance, fields: list[Field]) -> None:
    """Makes bytes a few shorter or longer, or double."""
    for field in _one(chance, fields, DELIMITED):
        if isinstance(field.value, bytes):
            change = chance.one_of((-8, -4, -2, -1, 1, 2, 4, 8, len(field.value)))
            longer = field.value + bytes(max(0, change))
            field.value = longer[: len(field.value) + change]


def lie(chance: Chance, fields: list[Field]) -> None:
    """Writes another length than is there."""
    for field in _one(chance, fields, DELIMITED):
        field.lie = chance.one_of((-1, 1, 2, 127, 2**31, 2**32, 2**63))


def write_text(chance: Chance, fields: list[Field]) -> None:
    for field in _one(chance, fields, DELIMITED):
        if isinstance(field.value, bytes):
            field.value = chance.one_of(_TEXTS)


def damage_content(chance: Chance, fields: list[Field]) -> None:
    for field in _one(chance, fields, DELIMITED):
        if isinstance(field.value, bytes):
            field.value = chance.one_of(BYTE_MUTATIONS)(chance, field.value)


FIELD_MUTATIONS: tuple[Callable[[Chance, list[Field]], None], ...] = (
    drop,
    repeat,
    move,
    renumber,
    retype,
    change_number,
    set_float,
    resize,
    lie,
    write_text,
    damage_content,
)


def _place(chance: Chance, fields: list[Field]) -> tuple[list[Field], int]:
    message = chance.one_of(list(messages(fields)))
    return message, chance.below(max(1, len(message)))


def _one(chance: Chance, fields: list[Field], *wire_types: int) -> list[Field]:
    """Returns one field of these wire types, of any where there is none; none if there is none."""
    found = [
        field
        for message in messages(fields)
        for field in message
        if not wire_types or field.wire_type in wire_types
    ]
    return [chance.one_of(found)] if found else []
