"""Masks that do not fit: lengths, offsets, shapes, types, biases, causal modes, positions."""

from __future__ import annotations

import numpy as np

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import (
    BATCH,
    KV_LEN,
    QUERY_LEN,
    array,
    booleans,
    floats,
    masked,
    raw,
    sdpa,
)

_PAIRS = (QUERY_LEN, KV_LEN)
_MANY = 20  # sequences, more than an error names

ROWS = [
    *refused(
        Reason.INVALID_COUNT,
        "mask.kv_lengths",
        {
            "kv_lengths of too few sequences": masked(kv_lengths=[1]),
            "kv_lengths of too many sequences": masked(kv_lengths=[1, 2, 3]),
        },
    ),
    *refused(
        Reason.INVALID_COUNT,
        "mask.query_lengths",
        {"query_lengths of too few sequences": masked(query_lengths=[1])},
    ),
    *refused(
        Reason.INVALID_COUNT,
        "mask.query_offsets",
        {"query_offsets of too many sequences": masked(query_offsets=[0] * 100_000)},
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "mask.kv_lengths[1]",
        {
            "kv_lengths with one key too many": masked(kv_lengths=[KV_LEN, KV_LEN + 1]),
            "kv_lengths with a negative one": masked(kv_lengths=[0, -1]),
            "kv_lengths with 2^63 - 1": masked(kv_lengths=[1, 2**63 - 1]),
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        ("mask.kv_lengths[0]", "mask.kv_lengths[1]"),
        {"kv_lengths that are all wrong": masked(kv_lengths=[-1, KV_LEN + 1])},
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        tuple(f"mask.kv_lengths[{i}]" for i in range(16)),
        {
            "kv_lengths wrong in more sequences than an error names": sdpa(
                query=floats(_MANY, 1, 8),
                key=None,
                value=None,
                mask=pb.Mask(kv_lengths=[2] * _MANY),
            )
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "mask.query_lengths[0]",
        {
            "query_lengths with one query too many": masked(query_lengths=[QUERY_LEN + 1, 1]),
            "query_lengths with a negative one": masked(query_lengths=[-(2**63), 1]),
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "mask.query_offsets[1]",
        {
            "query_offsets with a negative one": masked(query_offsets=[0, -1]),
            "query_offsets with 2^31": masked(query_offsets=[0, 2**31]),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "mask.key_mask.shape",
        {
            "key_mask without dimensions": masked(key_mask=pb.Tensor()),
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "mask.key_mask.data_type",
        {
            "key_mask of floats": masked(key_mask=floats(BATCH, KV_LEN)),
            "key_mask of integers": masked(key_mask=array(np.ones((BATCH, KV_LEN)), np.int32)),
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "mask.attend_mask.data_type",
        {
            "attend_mask of floats": masked(attend_mask=floats(*_PAIRS)),
            "attend_mask of an unknown type": masked(attend_mask=raw(6, _PAIRS, bytes(12))),
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "mask.attn_bias.data_type",
        {
            "attn_bias of booleans": masked(attn_bias=booleans(*_PAIRS)),
            "attn_bias of no type": masked(attn_bias=raw(0, _PAIRS, bytes(48))),
        },
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "mask.key_mask.data",
        {
            "key_mask one byte long": masked(
                key_mask=raw(pb.DATA_TYPE_BOOL, (BATCH, KV_LEN), bytes(9))
            )
        },
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "mask.attend_mask.data",
        {"attend_mask as bits": masked(attend_mask=raw(pb.DATA_TYPE_BOOL, _PAIRS, bytes(2)))},
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "mask.attn_bias.data",
        {"attn_bias without data": masked(attn_bias=raw(pb.DATA_TYPE_FLOAT32, _PAIRS, b""))},
    ),
    *refused(
        Reason.NON_FINITE,
        "mask.attn_bias",
        {
            "attn_bias with NaN": masked(attn_bias=floats(*_PAIRS, fill=float("nan"))),
            "attn_bias with +inf": masked(attn_bias=floats(*_PAIRS, fill=float("inf"))),
            "attn_bias of halves with +inf": masked(
                attn_bias=floats(*_PAIRS, fill=float("inf"), dtype=np.float16)
            ),
            "attn_bias with NaN where another mask forbids": masked(
                attn_bias=floats(*_PAIRS, fill=float("nan")), kv_lengths=[0, 0]
            ),
        },
    ),
    *refused(
        Reason.INVALID_ENUM,
        "mask.causal",
        {
            "causal mode that is unknown": masked(causal=99),
            "causal mode that is negative": masked(causal=-1),
        },
    ),
    *refused(
        Reason.POSITIONS_NOT_USED,
        "query_positions",
        {
            "query_positions for a model without": sdpa(
                query_positions=array(np.zeros((BATCH, QUERY_LEN)), np.int32)
            ),
            "query_positions that are empty": sdpa(query_positions=pb.Tensor()),
        },
    ),
    *refused(
        Reason.POSITIONS_NOT_USED,
        "key_positions",
        {
            "key_positions for a model without": sdpa(
                key_positions=array(np.zeros((BATCH, KV_LEN)), np.int32)
            )
        },
    ),
]
