"""Requests that are right in themselves, but over a limit of the server that they are sent to."""

from __future__ import annotations

from typing import Any

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.analysis import RPC, analysis, relation
from tests.contract.malformed.case import refused
from tests.messages import HEADS, floats, raw, sdpa

SETTINGS: dict[str, Any] = {
    "max_batch": 4,
    "max_length": 16,
    "max_work": 1024,
    "max_message_bytes": 1 << 16,
    "max_stream_bytes": 1 << 18,
}
"""Of a server that does little."""

_FLOAT32 = pb.DATA_TYPE_FLOAT32


def _self_attention(*shape: int, outputs: pb.OutputSpec | None = None) -> pb.AttendRequest:
    return sdpa(query=floats(*shape), key=None, value=None, outputs=outputs)


def _many_keys(outputs: pb.OutputSpec) -> pb.AttendRequest:
    return sdpa(
        query=floats(4, 1, 4), key=floats(4, 16, 4), value=floats(4, 16, 4), outputs=outputs
    )


ROWS = [
    *refused(
        Reason.BATCH_LIMIT,
        "query",
        {
            "one sequence too many": _self_attention(5, 1, 4),
            "2^31 - 1 sequences without data": sdpa(
                query=raw(_FLOAT32, (2**31 - 1, 1, 4), b""), key=None, value=None
            ),
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "query",
        {
            "one query too many": sdpa(
                query=floats(1, 17, 4), key=floats(1, 1, 4), value=floats(1, 1, 4)
            ),
            "2^31 - 1 queries without data": sdpa(
                query=raw(_FLOAT32, (1, 2**31 - 1, 4), b""), key=None, value=None
            ),
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "key",
        {
            "one key too many": sdpa(
                query=floats(1, 1, 4), key=floats(1, 17, 4), value=floats(1, 17, 4)
            )
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "outputs.weights.query_indices",
        {
            "more queries asked for than may be there": _many_keys(
                pb.OutputSpec(weights=pb.WeightsSpec(query_indices=[0] * 17, top_k=1))
            )
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "outputs.scores.heads",
        {
            "more heads asked for than queries may be there": _many_keys(
                pb.OutputSpec(scores=pb.ScoresSpec(heads=[0] * 17))
            )
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "heads.ablated_heads",
        {
            "more heads ablated than queries may be there": sdpa(
                heads=pb.HeadConfig(num_heads=HEADS, ablated_heads=[0] * 17)
            )
        },
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "attend.query",
        {
            "one query too many in an analysis": analysis(
                sdpa(query=floats(1, 17, 4), key=floats(1, 1, 4), value=floats(1, 1, 4))
            )
        },
        rpc=RPC,
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "relations",
        {
            "more pairs in all relations than queries may be there": analysis(
                relations=[relation(f"{i}") for i in range(9)]
            )
        },
        rpc=RPC,
    ),
    *refused(
        Reason.ANSWER_LIMIT,
        "relations",
        {
            "names of relations of many heads": analysis(
                sdpa(
                    query=floats(1, 1, 16),
                    key=None,
                    value=None,
                    heads=pb.HeadConfig(num_heads=16),
                ),
                [pb.Relation(name=f"{i:0128}") for i in range(30)],
            )
        },
        rpc=RPC,
    ),
    *refused(
        Reason.TENSOR_LIMIT,
        (),
        {
            "head outputs larger than any answer": sdpa(
                query=floats(1, 8, 8),
                key=floats(1, 1, 1),
                value=floats(1, 1, 1025),
                heads=pb.HeadConfig(num_heads=8, num_kv_heads=1),
                outputs=pb.OutputSpec(omit_output=True),
            )
        },
    ),
    *refused(
        Reason.WORK_LIMIT,
        (),
        {
            "one sequence's scores too many": _self_attention(3, 16, 4),
            "one head's scores too many": sdpa(
                query=floats(1, 16, 15),
                key=None,
                value=None,
                heads=pb.HeadConfig(num_heads=5),
            ),
        },
    ),
    *refused(
        Reason.ANSWER_LIMIT,
        "outputs",
        {
            "output larger than a message": sdpa(
                query=floats(1, 16, 4), key=floats(1, 1, 4), value=floats(1, 1, 1024)
            ),
            "weights of one row too often": _many_keys(
                pb.OutputSpec(weights=pb.WeightsSpec(heads=[0] * 16, query_indices=[0] * 16))
            ),
            "scores of one row too often": _many_keys(
                pb.OutputSpec(scores=pb.ScoresSpec(heads=[0] * 16, query_indices=[0] * 16))
            ),
        },
    ),
]
