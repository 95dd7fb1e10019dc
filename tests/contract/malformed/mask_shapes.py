"""Masks of every wrong shape: each rank, each axis, and what broadcasting would let pass."""

from __future__ import annotations

from attention_service.reasons import Reason
from tests.contract.malformed.case import refused
from tests.messages import BATCH, HEADS, KV_LEN, QUERY_LEN, booleans, floats, masked

_PAIR_SHAPES = (
    (QUERY_LEN, KV_LEN),
    (BATCH, QUERY_LEN, KV_LEN),
    (BATCH, HEADS, QUERY_LEN, KV_LEN),
)
_KEY_SHAPES = ((BATCH, KV_LEN),)
_BROADCAST_AXES = 3  # of rank 4: batch, heads and query_len may be 1


def _off_by_one_axis(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Returns shapes of which one axis is one larger, one smaller, double or 1, and thus wrong."""
    wrong = set()
    for axis, size in enumerate(shape):
        others = {size + 1, size - 1, 2 * size, 1} - {0, size}
        if len(shape) == 4 and axis < _BROADCAST_AXES:
            others -= {1}
        wrong |= {(*shape[:axis], other, *shape[axis + 1 :]) for other in others}
    return wrong


_WRONG_PAIRS = sorted(
    {shape for right in _PAIR_SHAPES for shape in _off_by_one_axis(right)}
    | {
        (1,),
        (KV_LEN,),
        (QUERY_LEN * KV_LEN,),
        (KV_LEN, QUERY_LEN),
        (BATCH, KV_LEN),
        (1, 1),
        (HEADS + 1, QUERY_LEN, KV_LEN),
        (BATCH, 1, KV_LEN),
        (1, 1, KV_LEN),
        (BATCH, KV_LEN, QUERY_LEN),
        (BATCH, 1, 1, 1),
        (1, 1, QUERY_LEN, 1),
        (1, 1, KV_LEN, QUERY_LEN),
        (HEADS + 1, BATCH + 1, QUERY_LEN, KV_LEN),
        (BATCH, QUERY_LEN, HEADS, KV_LEN),
        (1, 1, 1, QUERY_LEN, KV_LEN),
        (1, BATCH, HEADS, QUERY_LEN, KV_LEN),
        (1,) * 64,
    }
)
_WRONG_KEYS = sorted(
    {shape for right in _KEY_SHAPES for shape in _off_by_one_axis(right)}
    | {
        (1,),
        (KV_LEN,),
        (BATCH * KV_LEN,),
        (1, 1),
        (KV_LEN, BATCH),
        (BATCH, QUERY_LEN),
        (BATCH, 1, KV_LEN),
        (BATCH, HEADS, KV_LEN),
        (BATCH, 1, 1, KV_LEN),
        (1, BATCH, HEADS, QUERY_LEN, KV_LEN),
    }
)


def _name(mask: str, shape: tuple[int, ...]) -> str:
    return f"{mask} of rank {len(shape)}: {'x'.join(map(str, shape[:5]))}"


ROWS = [
    *refused(
        Reason.INVALID_SHAPE,
        "mask.key_mask.shape",
        {_name("key_mask", shape): masked(key_mask=booleans(*shape)) for shape in _WRONG_KEYS},
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "mask.attend_mask.shape",
        {
            _name("attend_mask", shape): masked(attend_mask=booleans(*shape))
            for shape in _WRONG_PAIRS
        },
    ),
    *refused(
        Reason.INVALID_SHAPE,
        "mask.attn_bias.shape",
        {_name("attn_bias", shape): masked(attn_bias=floats(*shape)) for shape in _WRONG_PAIRS},
    ),
]
