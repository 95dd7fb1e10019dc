"""What models that use positions or come whole refuse."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.analysis import RPC, analysis
from tests.contract.malformed.case import refused
from tests.made_models import HEADS, WIDTH
from tests.messages import BATCH, KV_LEN, QUERY_LEN, array, booleans, floats, raw

_PLACED = ("rotary", "biased")
_INT32 = pb.DATA_TYPE_INT32
_HIGHEST = 2**31 - 1


def _made(name: str, **fields: Any) -> pb.AttendRequest:
    """Returns a request to a made model, of fewer queries than keys."""
    return pb.AttendRequest(
        model=name,
        query=floats(BATCH, QUERY_LEN, WIDTH),
        key=floats(BATCH, KV_LEN, WIDTH),
        **fields,
    )


def _placed(what: str, **fields: Any) -> dict[str, pb.AttendRequest]:
    """Returns a request to each model that uses positions."""
    return {f"{what}, {name}": _made(name, **fields) for name in _PLACED}


def _positions(field: str, what: str, positions: pb.Tensor) -> dict[str, pb.AttendRequest]:
    given = {"query_positions": _integers(BATCH, QUERY_LEN), field: positions}
    return _placed(f"{field} {what}", **given)


def _integers(*shape: int, last: int = 0) -> pb.Tensor:
    """Returns zeros, but for the last."""
    values = np.zeros(shape)
    values.flat[-1] = last
    return array(values, np.int32)


def _mask(**fields: Any) -> dict[str, Any]:
    return {"mask": pb.Mask(**fields)}


def _lengths(field: str) -> tuple[int, ...]:
    return (BATCH, QUERY_LEN if field == "query_positions" else KV_LEN)


ROWS = [
    *refused(
        Reason.POSITIONS_REQUIRED,
        "query_positions",
        {
            **_placed("no place", **_mask(causal=pb.CAUSAL_MODE_NONE)),
            **_placed(
                "no place of queries",
                **_mask(causal=pb.CAUSAL_MODE_NONE),
                key_positions=_integers(BATCH, KV_LEN),
            ),
            "no place by default, biased": _made("biased"),
            "no place in a window, biased": _made(
                "biased", **_mask(window=pb.SlidingWindow(left=1))
            ),
        },
    ),
    *[
        row
        for field in ("query_positions", "key_positions")
        for row in (
            *refused(
                Reason.INVALID_SHAPE,
                f"{field}.shape",
                {
                    **_positions(field, "that are empty", pb.Tensor()),
                    **_positions(field, "of rank 1", _integers(_lengths(field)[1])),
                    **_positions(field, "of rank 3", _integers(*_lengths(field), 1)),
                    **_positions(field, "of one sequence", _integers(1, _lengths(field)[1])),
                    **_positions(field, "of another length", _integers(BATCH, 9)),
                    **_positions(field, "of length 0", raw(_INT32, (BATCH, 0), b"")),
                },
            ),
            *refused(
                Reason.INVALID_DATA_TYPE,
                f"{field}.data_type",
                {
                    **_positions(field, "of floats", floats(*_lengths(field))),
                    **_positions(field, "of booleans", booleans(*_lengths(field))),
                    **_positions(field, "of no type", raw(0, _lengths(field), bytes(32))),
                },
            ),
            *refused(
                Reason.INVALID_BYTE_LENGTH,
                f"{field}.data",
                {
                    **_positions(field, "without data", raw(_INT32, _lengths(field), b"")),
                    **_positions(field, "one byte long", raw(_INT32, _lengths(field), bytes(33))),
                },
            ),
            *refused(
                Reason.OUT_OF_RANGE,
                field,
                {
                    **_positions(field, "with -1", _integers(*_lengths(field), last=-1)),
                    **_positions(field, "with -2^31", _integers(*_lengths(field), last=-(2**31))),
                },
            ),
        )
    ],
    *refused(
        Reason.OUT_OF_RANGE,
        "mask.query_offsets[1]",
        _placed("places beyond 32 bits", **_mask(query_offsets=[0, _HIGHEST - QUERY_LEN + 2])),
    ),
    *refused(
        Reason.POSITIONS_NOT_USED,
        "query_positions",
        {
            f"positions, {name}": _made(name, query_positions=_integers(BATCH, QUERY_LEN))
            for name in ("whole", "output-only")
        },
    ),
    *[
        row
        for field, heads in {
            "num_heads": {"num_heads": HEADS + 1},
            "num_kv_heads": {"num_kv_heads": 1},
            "scale": {"scale": 0.5},
            "softcap": {"softcap": 0.0},
            "ablated_heads": {"ablated_heads": [0]},
        }.items()
        for row in refused(
            Reason.INVALID_HEADS,
            f"heads.{field}",
            {f"{field}, whole": _made("whole", heads=pb.HeadConfig(**heads))},  # type: ignore[arg-type]
        )
    ],
    *refused(
        Reason.MASK_NOT_SUPPORTED,
        "mask.attn_bias",
        {"attn_bias, whole": _made("whole", **_mask(attn_bias=floats(QUERY_LEN, KV_LEN)))},
    ),
    *refused(
        Reason.MASK_NOT_SUPPORTED,
        "mask.attend_mask.shape",
        {
            "attend_mask of each head, whole": _made(
                "whole", **_mask(attend_mask=booleans(1, HEADS, 1, KV_LEN))
            )
        },
    ),
    *[
        row
        for part in ("scores", "projections", "head_outputs", "log_sum_exp")
        for row in refused(
            Reason.OUTPUT_NOT_SUPPORTED,
            f"outputs.{part}",
            {
                f"{part}, whole": _made(
                    "whole",
                    outputs=pb.OutputSpec(
                        **{part: pb.ScoresSpec() if part == "scores" else True}  # type: ignore[arg-type]
                    ),
                )
            },
        )
    ],
    *refused(
        Reason.OUTPUT_NOT_SUPPORTED,
        "outputs.weights",
        {
            "weights, output alone": _made(
                "output-only", outputs=pb.OutputSpec(weights=pb.WeightsSpec())
            )
        },
    ),
    *refused(
        Reason.OUTPUT_NOT_SUPPORTED,
        "attend.model",
        {"analysis, output alone": analysis(_made("output-only"))},
        rpc=RPC,
    ),
]
"""To be sent to a server that holds the made models."""
