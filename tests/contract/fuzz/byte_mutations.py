"""Damage to bytes, whatever they mean."""

from __future__ import annotations

from collections.abc import Callable

from tests.contract.fuzz.chance import Chance
from tests.encoding import varint

EDGES = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 127, 128, 255, 256, 65_535, 65_536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63),
    *(-1, -2, -(2**31), -(2**63)),
)
"""Numbers at which some width ends."""


def flip_bit(chance: Chance, data: bytes) -> bytes:
    at = chance.place(data)
    flipped = bytes(byte ^ 1 << chance.below(8) for byte in data[at : at + 1])
    return data[:at] + flipped + data[at + 1 :]


def set_byte(chance: Chance, data: bytes) -> bytes:
    at = chance.place(data)
    return data[:at] + bytes([chance.one_of((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]


def truncate(chance: Chance, data: bytes) -> bytes:
    return data[: chance.place(data)]


def insert(chance: Chance, data: bytes) -> bytes:
    at = chance.place(data)
    return data[:at] + chance.bytes(8) + data[at:]


def cut_out(chance: Chance, data: bytes) -> bytes:
    at = chance.place(data)
    return data[:at] + data[at + 1 + chance.below(8) :]


def repeat_slice(chance: Chance, data: bytes) -> bytes:
    at = chance.place(data)
    piece = data[at : at + 1 + chance.below(32)]
    return data[:at] + piece * (1 + chance.below(4)) + data[at:]


def write_varint(chance: Chance, data: bytes) -> bytes:
    """Puts a number where a tag, a length or a number may stand."""
    at = chance.place(data)
    return data[:at] + varint(chance.one_of(EDGES)) + data[at + 1 :]


BYTE_MUTATIONS: tuple[Callable[[Chance, bytes], bytes], ...] = (
    flip_bit,
    set_byte,
    truncate,
    insert,
    cut_out,
    repeat_slice,
    write_varint,
)
