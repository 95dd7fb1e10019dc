"""ONNX files changed at random, the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import defs

__all__ = ["mutant"]

_WHOLE_NUMBERS = (
    *(0, -1, 1, 2, 3, 7, 1_000_003),
    *(sign * 2**power for power in (16, 31, 32, 62) for sign in (-1, 1)),
    *(2**31 - 1, 2**63 - 1, -(2**63)),
)
_NUMBERS = (0.0, 1.0, -1.0, float("nan"), float("inf"), 1e38)
_OPERATORS = sorted({schema.name for schema in defs.get_all_schemas() if not schema.domain})


def mutant(files: Mapping[str, bytes], seed: int, index: int) -> tuple[str, bytes]:
    """Returns the name of one of the files and its new content: by bytes, fields or operators."""
    chance = random.Random(f"{seed}/{index}")  # noqa: S311 - it hides nothing
    name = chance.choice(sorted(files))
    content = files[name]
    change = chance.choice((_bytes_changed, _fields_changed, _fields_changed, _operator_changed))
    return name, change(content, chance)


def _bytes_changed(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[place : place + 1] = [chance.choice((0, 0x7F, 0x80, chance.randrange(256)))]
            case 1:
                del changed[place : place + chance.randrange(1, 16)]
            case 2:
                changed[place:place] = chance.randbytes(chance.randrange(1, 16))
            case 3:
                other = chance.randrange(len(changed) + 1)
                changed[place:place] = changed[other : other + chance.randrange(1, 200)]
            case 4:
                del changed[place:]
    return bytes(changed)


def _operator_changed(content: bytes, chance: random.Random) -> bytes:
    model = onnx.load_model_from_string(content)
    node = chance.choice(model.graph.node)
    node.op_type = chance.choice(_OPERATORS)
    if chance.random() < 0.5:
        del node.attribute[:]
    changed: bytes = model.SerializeToString()
    return changed if chance.random() < 0.5 else _fields_changed(changed, chance)


def _fields_changed(content: bytes, chance: random.Random) -> bytes:
    model = onnx.load_model_from_string(content)
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        message = chance.choice(_messages(model))
        given = [field for field, _ in message.ListFields()]
        declared = list(message.DESCRIPTOR.fields)
        fields: list[Any] = given if given and chance.random() < 0.75 else declared
        _change(message, chance.choice(fields), chance, names)
    changed: bytes = model.SerializeToString()
    return changed


def _messages(message: Message) -> list[Message]:
    """Returns a message and all inside it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                found += _messages(inner)
    return found


def _change(
    message: Message, field: FieldDescriptor, chance: random.Random, names: Sequence[str]
) -> None:
    """Gives a field another value, one more, one less, or none."""
    value: Any = getattr(message, field.name)
    if field.message_type is not None and not field.is_repeated:
        if message.HasField(field.name):
            message.ClearField(field.name)
        else:
            value.SetInParent()
    elif not field.is_repeated:
        if chance.random() < 0.15:
            message.ClearField(field.name)
        elif field.type == field.TYPE_BYTES and value and chance.random() < 0.7:
            setattr(message, field.name, _bytes_changed(value, chance))
        else:
            setattr(message, field.name, _scalar(field, chance, names))
    elif value and chance.random() < 0.3:
        del value[chance.randrange(len(value))]
    elif field.message_type is not None:
        copied = chance.randrange(len(value)) if value and chance.random() < 0.5 else None
        added = value.add()
        if copied is not None:
            added.CopyFrom(value[copied])
    elif value and chance.random() < 0.6:
        value[chance.randrange(len(value))] = _scalar(field, chance, names)
    else:
        value.append(_scalar(field, chance, names))


def _scalar(field: FieldDescriptor, chance: random.Random, names: Sequence[str]) -> Any:
    if field.enum_type is not None:
        return chance.choice([value.number for value in field.enum_type.values])
    match field.cpp_type:
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return chance.choice(_NUMBERS)
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return chance.randbytes(chance.choice((0, 1, 4, 8, 16, 64)))
        case field.CPPTYPE_STRING if field.name == "op_type":
            return chance.choice(_OPERATORS)
        case field.CPPTYPE_STRING:
            return chance.choice((*names, "", "x", "\0", "a/b"))
    number = chance.choice((*_WHOLE_NUMBERS, *range(30)))
    match field.cpp_type:
        case field.CPPTYPE_INT32:
            return max(-(2**31), min(2**31 - 1, number))
        case field.CPPTYPE_UINT64:
            return abs(number)
    return number
