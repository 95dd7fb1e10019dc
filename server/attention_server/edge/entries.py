"""How many numbers a message holds, counted before it is parsed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import cast

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from attention_server.domain.errors import LimitExceeded, Violation
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["check_entries"]

_VARINT, _FIXED64, _DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_MAX_VARINT_BYTES = 10
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}

# Lists in a request of up to ``length`` heads or queries, and of one entry a sequence.
_INDEX_LISTS, _SEQUENCE_LISTS = 5, 3
_PAIR_FIELDS = 4  # the pair, and each of its numbers
_OTHER_FIELDS = 4096  # far more than there are: a newer contract may have more


def check_entries(message_type: type[Message], data: bytes, limits: Limits) -> None:
    """Refuses bytes with more fields and list entries than any request within the limits needs.

    Parsed, a number of one byte takes up to sixteen: 64 MiB of them would take a gigabyte. Bytes
    that are no message pass: parsing refuses them.

    Raises:
        LimitExceeded: LENGTH_LIMIT, at the field whose entries are too many.
    """
    most = _INDEX_LISTS * limits.length + _SEQUENCE_LISTS * limits.batch + _OTHER_FIELDS
    if message_type is pb.AnalyzeHeadsRequest:
        most += _PAIR_FIELDS * limits.length
    if len(data) <= most:  # each takes a byte at least
        return
    with contextlib.suppress(_NoMessageError):
        # Either of protobuf's implementations; they are typed apart.
        fields = cast("Mapping[int, FieldDescriptor]", message_type.DESCRIPTOR.fields_by_number)
        _Walk(data, most).message(fields, 0, len(data), "")


class _Walk:
    """Counts what parsing would make objects of; strings and data of tensors stay as they are."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._most = most
        self._count = 0

    def message(self, fields: Mapping[int, FieldDescriptor], at: int, end: int, path: str) -> None:
        """Counts what stands from ``at`` to ``end``; ``path`` says in which field, with a dot."""
        groups: list[int] = []  # those open: protobuf reads nothing of what they hold
        while at < end:
            tag, at = self._varint(at)
            field = None if groups else fields.get(tag >> 3)
            self._add(1, path, field)
            wire_type = tag & 7
            if wire_type == _VARINT:
                _, at = self._varint(at)
            elif wire_type == _DELIMITED:
                size, at = self._varint(at)
                if at + size > end:
                    raise _NoMessageError
                if field is not None:
                    self._delimited(field, at, at + size, path)
                at += size
            elif wire_type in _FIXED_BYTES:
                at += _FIXED_BYTES[wire_type]
            elif wire_type == _START_GROUP:
                groups.append(tag >> 3)
            elif wire_type != _END_GROUP or not groups or groups.pop() != tag >> 3:
                raise _NoMessageError

    def _delimited(self, field: FieldDescriptor, at: int, end: int, path: str) -> None:
        if field.message_type is not None:
            self.message(field.message_type.fields_by_number, at, end, f"{path}{field.name}.")
        elif field.is_packed:
            packed = np.frombuffer(self._data, np.uint8, end - at, at)
            last_bytes = np.count_nonzero(packed < 0x80)  # one of each number
            self._add(int(last_bytes), path, field)

    def _varint(self, at: int) -> tuple[int, int]:
        data, value = self._data, 0
        if at < len(data) and data[at] < 0x80:  # most are of one byte
            return data[at], at + 1
        for i, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value, at + i + 1
        raise _NoMessageError

    def _add(self, count: int, path: str, field: FieldDescriptor | None) -> None:
        self._count += count
        if self._count > self._most:
            at_fault = "" if field is None else path + field.name
            must = f"a message has at most {self._most} fields and list entries in all"
            raise LimitExceeded(Reason.LENGTH_LIMIT, Violation(at_fault, must))


class _NoMessageError(Exception):
    """The bytes are no message."""
