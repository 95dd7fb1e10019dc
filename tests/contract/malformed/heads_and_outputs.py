"""Heads that a model does not have, and selections of what is not there."""

from __future__ import annotations

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import BATCH, HEADS, KV_LEN, QUERY_LEN, floats, layer, sdpa

_INF, _NAN = float("inf"), float("nan")


def _heads(**fields: float) -> pb.AttendRequest:
    return sdpa(heads=pb.HeadConfig(**{"num_heads": HEADS, **fields}))  # type: ignore[arg-type]


def _weights(**fields: list[int]) -> pb.AttendRequest:
    return sdpa(outputs=pb.OutputSpec(weights=pb.WeightsSpec(**fields)))  # type: ignore[arg-type]


def _scores(**fields: list[int]) -> pb.AttendRequest:
    return sdpa(outputs=pb.OutputSpec(scores=pb.ScoresSpec(**fields)))


def _data_type(number: int) -> pb.AttendRequest:
    return sdpa(outputs=pb.OutputSpec(data_type=number))  # type: ignore[arg-type]


ROWS = [
    *refused(
        Reason.MISSING_FIELD,
        "heads.num_heads",
        {
            "heads absent for sdpa": sdpa(heads=None),
            "num_heads 0 for sdpa": sdpa(heads=pb.HeadConfig(num_kv_heads=2)),
        },
    ),
    *refused(
        Reason.INVALID_HEADS,
        "heads.num_heads",
        {
            "num_heads that the model does not have": layer(heads=pb.HeadConfig(num_heads=8)),
            "num_heads 2^32 - 1 for a model": layer(heads=pb.HeadConfig(num_heads=2**32 - 1)),
        },
    ),
    *refused(
        Reason.INVALID_HEADS,
        "heads.num_kv_heads",
        {
            "num_kv_heads that the model does not have": layer(heads=pb.HeadConfig(num_kv_heads=4)),
            "num_kv_heads that does not divide num_heads": sdpa(
                query=floats(BATCH, QUERY_LEN, 12), heads=pb.HeadConfig(num_heads=4, num_kv_heads=3)
            ),
            "num_kv_heads larger than num_heads": _heads(num_kv_heads=4),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "query.shape",
        {
            "num_heads that do not divide the query": _heads(num_heads=3),
            "num_heads 2^32 - 1": _heads(num_heads=2**32 - 1),
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "key.shape",
        {"num_kv_heads of another width than the key": _heads(num_kv_heads=1)},
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "value.shape",
        {
            "num_kv_heads that do not divide the value": sdpa(value=floats(BATCH, KV_LEN, 5)),
        },
    ),
    *refused(
        Reason.INVALID_HEADS,
        "heads.scale",
        {
            "scale NaN": _heads(scale=_NAN),
            "scale infinite": _heads(scale=_INF),
            "scale -inf for a model": layer(heads=pb.HeadConfig(scale=-_INF)),
        },
    ),
    *refused(
        Reason.INVALID_HEADS,
        "heads.softcap",
        {
            "softcap NaN": _heads(softcap=_NAN),
            "softcap infinite": _heads(softcap=_INF),
            "softcap negative": _heads(softcap=-1.0),
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "heads.ablated_heads[1]",
        {
            "ablated head that is not there": sdpa(
                heads=pb.HeadConfig(num_heads=HEADS, ablated_heads=[0, HEADS])
            ),
            "ablated head 2^32 - 1": sdpa(
                heads=pb.HeadConfig(num_heads=HEADS, ablated_heads=[0, 2**32 - 1])
            ),
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "outputs.weights.heads[0]",
        {"weights of a head that is not there": _weights(heads=[HEADS])},
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "outputs.weights.query_indices[2]",
        {
            "weights of a query that is not there": _weights(query_indices=[0, 0, QUERY_LEN]),
            "weights of query 2^32 - 1": _weights(query_indices=[0, 1, 2**32 - 1]),
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        tuple(f"outputs.weights.query_indices[{i}]" for i in range(16)),
        {
            "weights of more wrong queries than an error names": _weights(
                query_indices=[2**32 - 1] * 65_536
            )
        },
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "outputs.scores.heads[1]",
        {"scores of a head that is not there": _scores(heads=[0, HEADS])},
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "outputs.scores.query_indices[0]",
        {"scores of a query that is not there": _scores(query_indices=[QUERY_LEN])},
    ),
    *refused(
        Reason.INVALID_DATA_TYPE,
        "outputs.data_type",
        {
            "answer in booleans": _data_type(pb.DATA_TYPE_BOOL),
            "answer in integers": _data_type(pb.DATA_TYPE_INT32),
            "answer in an unknown type": _data_type(77),
        },
    ),
]
