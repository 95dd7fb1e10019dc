"""Tensors that are none, in every field that takes one: dimensions, types, lengths, numbers."""

from __future__ import annotations

import math

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import Malformed, refused
from tests.messages import BATCH, HEADS, KV_LEN, QUERY_LEN, masked, raw, sdpa

_F32, _F16, _BF16 = pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_BFLOAT16
_BOOL, _INT32 = pb.DATA_TYPE_BOOL, pb.DATA_TYPE_INT32
_ITEM_BYTES: dict[int, int] = {_F32: 4, _F16: 2, _BF16: 2, _BOOL: 1, _INT32: 4}

_SHAPES: dict[str, tuple[int, ...]] = {
    "query": (BATCH, QUERY_LEN, 8),
    "key": (BATCH, KV_LEN, 8),
    "value": (BATCH, KV_LEN, 6),
    "mask.key_mask": (BATCH, KV_LEN),
    "mask.attend_mask": (QUERY_LEN, KV_LEN),
    "mask.attn_bias": (BATCH, HEADS, QUERY_LEN, KV_LEN),
}
_EMBEDDINGS = ("query", "key", "value")
_BOOLEANS = ("mask.key_mask", "mask.attend_mask")

_DIMENSIONS = {
    "of 0": 0,
    "of -1": -1,
    "of -2^31": -(2**31),
    "of -2^63": -(2**63),
    "of 2^31": 2**31,
    "of 2^32": 2**32,
    "of 2^62": 2**62,
    "of 2^63 - 1": 2**63 - 1,
}
_PRODUCTS = {
    "beyond 2^63": (2**31, 2**31, 4),
    "beyond 2^64": (2**32, 2**32, 16),
    "of 2^62 each": (2**62, 2**62, 2**62),
    "that is 0 in 64 bits": (2**32, 2**32, 1),
    "that is right in 64 bits": (2**63 - 1, 2**63 - 1, 48),
    "of zero and a huge one": (0, 2**62, 8),
    "of a negative and a negative one": (-2, -3, 8),
}
_UNKNOWN_TYPES = (0, 6, 99, 2**31 - 1, -1, -(2**31))

# Bits of what is not finite, little-endian.
_BITS: dict[str, dict[int, bytes]] = {
    "NaN": {_F32: b"\x00\x00\xc0\x7f", _F16: b"\x00\x7e", _BF16: b"\xc0\x7f"},
    "signalling NaN": {_F32: b"\x01\x00\x80\x7f", _F16: b"\x01\x7c", _BF16: b"\x81\x7f"},
    "negative NaN": {_F32: b"\xff\xff\xff\xff", _F16: b"\xff\xff", _BF16: b"\xff\xff"},
    "+inf": {_F32: b"\x00\x00\x80\x7f", _F16: b"\x00\x7c", _BF16: b"\x80\x7f"},
    "-inf": {_F32: b"\x00\x00\x80\xff", _F16: b"\x00\xfc", _BF16: b"\x80\xff"},
}


def _with(field: str, tensor: pb.Tensor) -> pb.AttendRequest:
    """Returns a good request but for this tensor."""
    if field.startswith("mask."):
        return masked(**{field.removeprefix("mask."): tensor})
    return sdpa(**{field: tensor})


def _own_type(field: str) -> int:
    return _BOOL if field in _BOOLEANS else _F32


def _wrong_dimensions(field: str, shape: tuple[int, ...]) -> list[Malformed]:
    data_type = _own_type(field)
    requests = {
        f"{field} with dimension {axis} {what}": _with(
            field, raw(data_type, (*shape[:axis], size, *shape[axis + 1 :]), bytes(64))
        )
        for axis in range(len(shape))
        for what, size in _DIMENSIONS.items()
    }
    requests |= {
        f"{field} with a product {what}": _with(field, raw(data_type, dims, b""))
        for what, dims in _PRODUCTS.items()
    }
    return refused(Reason.INVALID_SHAPE, f"{field}.shape", requests)


def _wrong_types(field: str, shape: tuple[int, ...]) -> list[Malformed]:
    others = (_F32, _F16, _BF16, _INT32) if field in _BOOLEANS else (_BOOL, _INT32)
    requests = {
        f"{field} of type {data_type}": _with(
            field, raw(data_type, shape, bytes(math.prod(shape) * _ITEM_BYTES.get(data_type, 4)))
        )
        for data_type in (*others, *_UNKNOWN_TYPES)
    }
    return refused(Reason.INVALID_DATA_TYPE, f"{field}.data_type", requests)


def _wrong_lengths(field: str, shape: tuple[int, ...]) -> list[Malformed]:
    types = (_BOOL,) if field in _BOOLEANS else (_F32, _F16, _BF16)
    requests = {}
    for data_type in types:
        right = math.prod(shape) * _ITEM_BYTES[data_type]
        lengths = {"no": 0, "1": 1, "one too few": right - 1, "one more": right + 1}
        for what, length in {**lengths, "twice the": 2 * right, "half the": right // 2}.items():
            requests[f"{field} of type {data_type} with {what} bytes"] = _with(
                field, raw(data_type, shape, bytes(length))
            )
    return refused(Reason.INVALID_BYTE_LENGTH, f"{field}.data", requests)


def _not_finite(field: str, shape: tuple[int, ...]) -> list[Malformed]:
    requests = {}
    for what, by_type in _BITS.items():
        if (field, what) == ("mask.attn_bias", "-inf"):
            continue  # it forbids
        for data_type, bits in by_type.items():
            zeros = bytes(math.prod(shape) * _ITEM_BYTES[data_type])
            places = {"first": bits + zeros[len(bits) :], "last": zeros[len(bits) :] + bits}
            for place, data in places.items():
                name = f"{field} of type {data_type} with {what} as its {place}"
                requests[name] = _with(field, raw(data_type, shape, data))
    return refused(Reason.NON_FINITE, field, requests)


ROWS = [
    row
    for field, shape in _SHAPES.items()
    for rows in (_wrong_dimensions, _wrong_types, _wrong_lengths)
    for row in rows(field, shape)
]
ROWS += [
    row for field in (*_EMBEDDINGS, "mask.attn_bias") for row in _not_finite(field, _SHAPES[field])
]
