"""Requests that are right in themselves, but over a limit of the server that they are sent to."""

from __future__ import annotations

from typing import Any

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import HEADS, floats, raw, sdpa

SETTINGS: dict[str, Any] = {
    "max_batch": 4,
    "max_length": 16,
    "max_work": 1024,
    "max_message_bytes": 1 << 16,
}
"""Of a server that does little."""

_FLOAT32 = pb.DATA_TYPE_FLOAT32


def _self_attention(*shape: int, outputs: pb.OutputSpec | None = None) -> pb.AttendRequest:
    return sdpa(query=floats(*shape), key=None, value=None, outputs=outputs)


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
            "weights of one query too often": sdpa(
                query=floats(1, 1, 4),
                key=floats(1, 16, 4),
                value=floats(1, 16, 4),
                outputs=pb.OutputSpec(
                    weights=pb.WeightsSpec(query_indices=[0] * (2**16 // (4 * 16 * HEADS)))
                ),
            ),
            "scores of one head too often": _self_attention(
                1, 16, 4, outputs=pb.OutputSpec(scores=pb.ScoresSpec(heads=[0] * 64))
            ),
        },
    ),
]
