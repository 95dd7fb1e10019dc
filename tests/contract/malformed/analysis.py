"""Questions about heads that have no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import BATCH, KV_LEN, QUERY_LEN, floats, masked, sdpa

RPC = "AnalyzeHeads"


def analysis(
    attend: pb.AttendRequest | None = None, relations: Sequence[pb.Relation] = ()
) -> pb.AnalyzeHeadsRequest:
    """Returns a question about heads, a good one unless told otherwise."""
    return pb.AnalyzeHeadsRequest(attend=attend or sdpa(), relations=relations)


def relation(name: str = "nsubj", **pair: int) -> pb.Relation:
    """Returns a relation of two pairs, the second of these numbers."""
    return pb.Relation(name=name, pairs=[pb.Pair(), pb.Pair(**pair)])


def _outside(field: str, size: int) -> dict[str, Any]:
    return {
        f"pair of {field} {number}": analysis(relations=[relation("nsubj", **{field: number})])
        for number in (size, 2**32 - 1)
    }


ROWS = [
    *refused(Reason.MALFORMED_MESSAGE, (), {"analysis of no message": b"\xff"}, rpc=RPC),
    *refused(
        Reason.MISSING_FIELD,
        "attend",
        {
            "analysis of nothing": b"",
            "analysis of relations alone": pb.AnalyzeHeadsRequest(relations=[relation()]),
        },
        rpc=RPC,
    ),
    *refused(
        Reason.OUTPUT_NOT_SUPPORTED,
        "attend.outputs",
        {
            "analysis with weights": analysis(
                sdpa(outputs=pb.OutputSpec(weights=pb.WeightsSpec()))
            ),
            "analysis with outputs that ask for nothing": analysis(sdpa(outputs=pb.OutputSpec())),
        },
        rpc=RPC,
    ),
    # What Attend refuses, at its place.
    *refused(
        Reason.INVALID_NAME,
        "attend.model",
        {"analysis of a model of no name": analysis(sdpa(model=""))},
        rpc=RPC,
    ),
    *refused(
        Reason.INVALID_NAME,
        "attend.request_id",
        {"analysis of a long id": analysis(sdpa(request_id="x" * 129))},
        rpc=RPC,
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        ("attend.mask.kv_lengths[0]", "attend.mask.kv_lengths[1]"),
        {"analysis of lengths beyond the keys": analysis(masked(kv_lengths=[KV_LEN + 1] * BATCH))},
        rpc=RPC,
    ),
    *refused(
        Reason.NON_FINITE,
        "attend.query",
        {
            "analysis of a query that is not finite": analysis(
                sdpa(query=floats(BATCH, QUERY_LEN, 8, fill=np.nan))
            )
        },
        rpc=RPC,
    ),
    *refused(
        Reason.SCORE_OVERFLOW,
        (),
        {
            "analysis of scores that overflow": analysis(
                sdpa(
                    query=floats(BATCH, QUERY_LEN, 8, fill=1e30),
                    key=floats(BATCH, KV_LEN, 8, fill=1e30),
                )
            )
        },
        rpc=RPC,
    ),
    *(
        row
        for field, size in (("sequence", BATCH), ("query", QUERY_LEN), ("key", KV_LEN))
        for row in refused(
            Reason.OUT_OF_RANGE,
            f"relations[0].pairs[1].{field}",
            _outside(field, size),
            rpc=RPC,
        )
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        ("relations[1].pairs[1].query", "relations[1].pairs[1].key"),
        {
            "pair of two numbers beyond": analysis(
                relations=[relation("a"), relation("b", query=QUERY_LEN, key=KV_LEN)]
            )
        },
        rpc=RPC,
    ),
    *refused(
        Reason.INVALID_NAME,
        "relations[1].name",
        {
            "relation without a name": analysis(relations=[relation(), relation("")]),
            "relation of a long name": analysis(relations=[relation(), relation("語" * 43)]),
            "two relations of one name": analysis(relations=[relation(), relation()]),
        },
        rpc=RPC,
    ),
    *refused(
        Reason.LENGTH_LIMIT,
        "relations",
        {"65 relations": analysis(relations=[relation(f"{i}") for i in range(65)])},
        rpc=RPC,
    ),
]
