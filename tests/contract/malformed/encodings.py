"""Bytes that no library would write: garbage, cuts, wrong wire types, numbers too wide."""

from __future__ import annotations

import numpy as np

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.encoding import FIXED32, FIXED64, START_GROUP, delimited, group, number, tag, varint
from tests.messages import QUERY_LEN, layer, sdpa

_GOOD = sdpa().SerializeToString()
_LAYER = layer().SerializeToString()
_DEEPEST = 100  # groups inside each other that protobuf reads

_MODEL, _QUERY, _MASK, _HEADS, _OUTPUTS = 2, 4, 7, 8, 9
_NO_UTF8 = {
    "a byte that starts nothing": b"\xff",
    "a continuation alone": b"\x80",
    "an unfinished character": b"sdpa\xe6\xb3",
    "a slash in two bytes": b"..\xc0\xaf",
    "a NUL in two bytes": b"sdpa\xc0\x80",
    "half of a surrogate pair": b"\xed\xa0\x80",
    "a character beyond Unicode": b"\xf4\x90\x80\x80",
}
_TEXTS = {
    "request_id": ("Attend", 1),
    "model": ("Attend", 2),
    "model_version": ("Attend", 3),
    "GetModel's model": ("GetModel", 1),
    "GetModel's model_version": ("GetModel", 2),
    "page_token": ("ListModels", 2),
}
_NO_MESSAGES = {
    "a byte of ones": b"\xff",
    "a tag alone": tag(_MODEL, 2),
    "a tag of six bytes": b"\x8a\x80\x80\x80\x80\x01\x00",
    "a number of eleven bytes": tag(99, 0) + b"\x80" * 10 + b"\x01",
    "a number of a thousand bytes": tag(99, 0) + b"\x80" * 1000,
    "a length beyond the end": tag(_MODEL, 2) + varint(2**31 - 1) + b"sdpa",
    "a length of 2^32": tag(_MODEL, 2) + varint(2**32) + b"sdpa",
    "a length of 2^63": tag(_QUERY, 2) + varint(2**63) + b"sdpa",
    "a negative length": tag(_MODEL, 2) + varint(-1),
    "a message longer than the one around it": delimited(_MASK, tag(1, 2) + varint(9) + b"\x01"),
    "wire type 6": tag(99, 6),
    "wire type 7": tag(99, 7),
    "field 0": b"\x02\x00",
    "a group without its end": tag(99, START_GROUP),
    "a group's end alone": b"\x9c\x06",
    "a group that another ends": tag(98, START_GROUP) + b"\x9c\x06",
    "half of a fixed number": tag(99, FIXED64) + bytes(7),
    "groups deeper than protobuf reads": group(99, depth=_DEEPEST + 1),
    "a hundred thousand groups": group(99, depth=100_000),
    "a packed list cut in a number": delimited(_MASK, delimited(1, b"\x01\x80")),
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "JSON": b'{"model": "sdpa"}',
    "a gzip header": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a message in a message": b"\x00\x00\x00\x00\x05" + _GOOD,
    "noise": np.random.default_rng(3).bytes(4096),
}

ROWS = [
    *refused(
        Reason.MALFORMED_MESSAGE,
        (),
        {f"Attend with {what}": data for what, data in _NO_MESSAGES.items()},
    ),
    *refused(
        Reason.MALFORMED_MESSAGE,
        (),
        {f"a good request, then {what}": _GOOD + data for what, data in _NO_MESSAGES.items()},
    ),
    *(
        row
        for field, (rpc, position) in _TEXTS.items()
        for row in refused(
            Reason.MALFORMED_MESSAGE,
            (),
            {f"{field} with {what}": delimited(position, text) for what, text in _NO_UTF8.items()},
            rpc=rpc,
        )
    ),
    # Protobuf takes a known field of another wire type for an unknown one.
    *refused(
        Reason.INVALID_NAME,
        "model",
        {
            "no bytes at all": b"",
            "model as a number": number(_MODEL, 1),
            "model as a group": group(_MODEL),
            "model that is named twice, the second time badly": _GOOD + delimited(_MODEL, b"../x"),
        },
    ),
    *refused(
        Reason.MISSING_FIELD,
        "query",
        {
            "query as a number": delimited(_MODEL, b"sdpa") + number(_QUERY, 1),
            "query as a group": delimited(_MODEL, b"sdpa") + group(_QUERY),
        },
    ),
    *refused(
        Reason.MISSING_FIELD,
        "heads.num_heads",
        {
            "num_heads as a fixed number": sdpa(heads=None).SerializeToString()
            + delimited(_HEADS, tag(1, FIXED32) + b"\x02\0\0\0"),
            "num_heads that a later one takes back": _GOOD + delimited(_HEADS, number(1, 0)),
            "num_heads of 2^32, which 32 bits hold as 0": _GOOD
            + delimited(_HEADS, number(1, 2**32)),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "query.shape",
        {
            "num_heads negative": _GOOD + delimited(_HEADS, number(1, -1)),
            "num_heads of 2^64 - 1": _GOOD + delimited(_HEADS, number(1, 2**64 - 1)),
            "query twice, its dimensions thus too many": _GOOD
            + pb.AttendRequest(query=pb.Tensor(shape=[QUERY_LEN])).SerializeToString(),
            "a whole request twice": _GOOD + _GOOD,
        },
    ),
    *refused(
        Reason.INVALID_HEADS,
        "heads.num_heads",
        {"num_heads negative for a model": _LAYER + delimited(_HEADS, number(1, -4))},
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "query.data",
        {
            "query twice, the second time with other data": _GOOD
            + pb.AttendRequest(query=pb.Tensor(data=b"\0")).SerializeToString(),
            "data of query as a number": sdpa(
                query=pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=sdpa().query.shape)
            ).SerializeToString()
            + delimited(_QUERY, number(3, 1)),
        },
    ),
    *refused(
        Reason.INVALID_ENUM,
        "mask.causal",
        {
            f"causal mode {mode}": _GOOD + delimited(_MASK, number(5, mode))
            for mode in (4, 127, 128, 2**31 - 1, -1, -(2**31), 2**31)
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "outputs.data_type",
        {
            f"answer of type {data_type}": _GOOD + delimited(_OUTPUTS, number(7, data_type))
            for data_type in (4, 5, 6, 2**31 - 1, -1, -(2**31))
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "heads.ablated_heads[0]",
        {"ablated head -1": _GOOD + delimited(_HEADS, delimited(5, varint(-1)))},
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "page_size",
        {f"page_size {size}": number(1, size) for size in (2**31, 2**32 - 1, -(2**63) - 1)},
        rpc="ListModels",
    ),
]
