"""Embeddings that are none: absent, of a wrong shape, type or length, not finite, too large."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import BATCH, KV_LEN, QUERY_LEN, array, booleans, floats, layer, raw, sdpa

_F32, _F16, _BF16 = pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_BFLOAT16
_QUERY, _KEY, _VALUE = (BATCH, QUERY_LEN, 8), (BATCH, KV_LEN, 8), (BATCH, KV_LEN, 6)
_QUERY_BYTES = 4 * BATCH * QUERY_LEN * 8
_WIDEST = 2**31 - 2  # even: two heads divide it
_INF, _NAN = float("inf"), float("nan")


def _query(*shape: int) -> pb.AttendRequest:
    """Returns a request whose query has 64 bytes, whatever its shape says."""
    return sdpa(query=raw(_F32, shape, bytes(64)))


def _among_ones(value: float, shape: tuple[int, ...], dtype: Any = np.float32) -> pb.Tensor:
    """Returns ones, but for this value at the end."""
    values = np.ones(shape)
    values.flat[-1] = value
    return array(values, dtype)


def _largest_of_both_signs(*shape: int) -> pb.Tensor:
    """Returns the largest floats: whatever the signs of the weights, some product overflows."""
    signs = np.sign(np.sin(np.arange(1, 1 + math.prod(shape)))).reshape(shape)
    return array(signs * np.finfo(np.float32).max)


def _signalling_nan(data_type: int, bits: bytes) -> pb.Tensor:
    return raw(data_type, _QUERY, bits * (BATCH * QUERY_LEN * 8))


ROWS = [
    *refused(Reason.MISSING_FIELD, "query", {"query absent": sdpa(query=None)}),
    *refused(
        Reason.INVALID_SHAPE,
        "query.shape",
        {
            "query without dimensions": sdpa(query=pb.Tensor()),
            "query of rank 1": _query(16),
            "query of rank 2": _query(2, 8),
            "query of rank 4": _query(1, 2, 1, 8),
            "query of rank 5": _query(1, 1, 2, 1, 8),
            "query of rank 1000": _query(*(1,) * 1000),
            "query of batch 0": _query(0, 3, 8),
            "query of length 0": _query(2, 0, 8),
            "query of width 0": _query(2, 3, 0),
            "query with a dimension of -1": _query(2, -1, 8),
            "query with a dimension of -2^63": _query(2, 3, -(2**63)),
            "query with a dimension of 2^31": _query(2, 3, 2**31),
            "query with a dimension of 2^63 - 1": _query(2**63 - 1, 3, 8),
            "query whose size wraps around 64 bits": _query(2**32, 2**32, 16),
            "query that the heads do not divide": sdpa(query=floats(BATCH, QUERY_LEN, 9)),
            "query of another width than the model's": layer(query=floats(BATCH, QUERY_LEN, 13)),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "key.shape",
        {
            "key of rank 2": sdpa(key=floats(KV_LEN, 8)),
            "key of another batch": sdpa(key=floats(3, KV_LEN, 8)),
            "key of batch 1": sdpa(key=floats(1, KV_LEN, 8)),
            "key of length 0": sdpa(key=raw(_F32, (BATCH, 0, 8), b"")),
            "key of another width than the query": sdpa(key=floats(BATCH, KV_LEN, 6)),
            "key of another width than the model's": layer(key=floats(BATCH, KV_LEN, 12)),
            "key absent though it is not as wide as the query": layer(key=None, value=None),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "value.shape",
        {
            "value of rank 4": sdpa(value=floats(BATCH, 2, KV_LEN, 3)),
            "value of another batch": sdpa(value=floats(1, KV_LEN, 6)),
            "value of another length than the key": sdpa(value=floats(BATCH, KV_LEN + 1, 6)),
            "value of another length than the query, without key": sdpa(key=None),
            "value that the heads do not divide": sdpa(value=floats(BATCH, KV_LEN, 7)),
            "value of another width than the model's": layer(value=floats(BATCH, KV_LEN, 8)),
            "value absent though it is not as wide as the key": layer(value=None),
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "query.data_type",
        {
            "query of no type": sdpa(query=raw(0, _QUERY, bytes(_QUERY_BYTES))),
            "query of booleans": sdpa(query=booleans(*_QUERY)),
            "query of integers": sdpa(query=array(np.ones(_QUERY), np.int32)),
            "query of an unknown type": sdpa(query=raw(99, _QUERY, bytes(_QUERY_BYTES))),
            "query of a negative type": sdpa(query=raw(-1, _QUERY, bytes(_QUERY_BYTES))),
        },
    ),
    *refused(
        Reason.INVALID_DATA_TYPE, "key.data_type", {"key of booleans": sdpa(key=booleans(*_KEY))}
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "value.data_type",
        {"value of integers": sdpa(value=array(np.ones(_VALUE), np.int32))},
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "query.data",
        {
            "query one byte short": sdpa(query=raw(_F32, _QUERY, bytes(_QUERY_BYTES - 1))),
            "query one byte long": sdpa(query=raw(_F32, _QUERY, bytes(_QUERY_BYTES + 1))),
            "query without data": sdpa(query=raw(_F32, _QUERY, b"")),
            "query of halves with the bytes of floats": sdpa(
                query=raw(_F16, _QUERY, bytes(_QUERY_BYTES))
            ),
        },
    ),
    *refused(
        Reason.TENSOR_LIMIT,
        (),
        {
            "query of 512 TiB with 64 bytes": sdpa(
                query=raw(_F32, (1, 65_536, _WIDEST), bytes(64)),
                key=None,
                value=None,
                outputs=pb.OutputSpec(omit_output=True),
            ),
        },
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH, "key.data", {"key without data": sdpa(key=raw(_F32, _KEY, b""))}
    ),
    *refused(
        Reason.INVALID_BYTE_LENGTH,
        "value.data",
        {"value one byte short": sdpa(value=raw(_BF16, _VALUE, bytes(2 * BATCH * KV_LEN * 6 - 1)))},
    ),
    *refused(
        Reason.NON_FINITE,
        "query",
        {
            "query with NaN": sdpa(query=_among_ones(_NAN, _QUERY)),
            "query with -inf": sdpa(query=_among_ones(-_INF, _QUERY)),
            "query of halves with infinity": sdpa(query=_among_ones(_INF, _QUERY, np.float16)),
            "query of bfloat16 with NaN": sdpa(query=_among_ones(_NAN, _QUERY, ml_dtypes.bfloat16)),
            "query of signalling NaNs": sdpa(query=_signalling_nan(_F32, b"\x01\x00\x80\x7f")),
            "query of signalling NaNs of half size": sdpa(query=_signalling_nan(_F16, b"\x01\x7c")),
            "query with NaN in its padding": sdpa(
                query=_among_ones(_NAN, _QUERY),
                mask=pb.Mask(query_lengths=[QUERY_LEN, QUERY_LEN - 1]),
            ),
        },
    ),
    *refused(
        Reason.NON_FINITE,
        "key",
        {
            "key with infinity": sdpa(key=_among_ones(_INF, _KEY)),
            "key with NaN in its padding": sdpa(
                key=_among_ones(_NAN, _KEY), mask=pb.Mask(kv_lengths=[KV_LEN, KV_LEN - 1])
            ),
        },
    ),
    *refused(
        Reason.NON_FINITE,
        "value",
        {
            "value with NaN": layer(value=_among_ones(_NAN, _VALUE)),
            "value with infinity in its padding": sdpa(
                value=_among_ones(_INF, _VALUE), mask=pb.Mask(kv_lengths=[KV_LEN, KV_LEN - 1])
            ),
        },
    ),
    *refused(
        Reason.SCORE_OVERFLOW,
        (),
        {
            "scores beyond float32": sdpa(
                query=floats(*_QUERY, fill=1e20), key=floats(*_KEY, fill=1e20)
            ),
            "scores beyond float32 where they are masked": sdpa(
                query=floats(*_QUERY, fill=1e20),
                key=_among_ones(1e20, _KEY),
                mask=pb.Mask(kv_lengths=[KV_LEN, KV_LEN - 1]),
            ),
            "scores beyond float32 under a softcap": sdpa(
                query=floats(*_QUERY, fill=1e20),
                key=floats(*_KEY, fill=1e20),
                heads=pb.HeadConfig(num_heads=2, softcap=30.0),
            ),
            "scores that only their scale takes beyond float32": sdpa(
                query=floats(*_QUERY, fill=10.0),
                heads=pb.HeadConfig(num_heads=2, scale=3e38),
            ),
            "scores that only their bias takes beyond float32": sdpa(
                query=floats(*_QUERY, fill=1e19),
                key=floats(*_KEY, fill=1e19),
                mask=pb.Mask(attn_bias=floats(QUERY_LEN, KV_LEN, fill=3e38)),
            ),
            "projected query beyond float32": layer(query=floats(BATCH, QUERY_LEN, 12, fill=3e38)),
            "scores of projections beyond float32": layer(
                query=floats(BATCH, QUERY_LEN, 12, fill=1e20), key=floats(*_KEY, fill=1e20)
            ),
        },
    ),
    *refused(
        Reason.VALUE_OVERFLOW,
        (),
        {
            "projected value beyond float32": layer(value=_largest_of_both_signs(*_VALUE)),
            "projected value beyond float32, and its head asked for": layer(
                value=_largest_of_both_signs(*_VALUE),
                outputs=pb.OutputSpec(omit_output=True, head_outputs=True),
            ),
            "projected value beyond float32, and it asked for": layer(
                value=_largest_of_both_signs(*_VALUE),
                outputs=pb.OutputSpec(omit_output=True, projections=True),
            ),
        },
    ),
]
