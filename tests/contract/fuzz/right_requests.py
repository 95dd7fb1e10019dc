"""A strategy for requests whose shapes fit, of all masks, heads, outputs and models."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb

# Making a strategy takes longer than drawing from it: those of the same sizes are made once.

_FLOAT32 = np.finfo(np.float32)
_LARGEST: dict[Any, float] = {
    np.float32: float(_FLOAT32.max),
    np.float16: 65504.0,
    ml_dtypes.bfloat16: 3.3895313892515355e38,
}
_EXTREMES = (0.0, 1.0, -1.0, 1e-45, 1e19, -1e19, 1e38, float(_FLOAT32.max), float(_FLOAT32.min))
_MODELS = {
    # Heads, key and value heads; widths of query, key and value.
    "layer": (4, 2, (12, 8, 6)),
    "demo": (4, 4, (256, 256, 256)),
    "rotary": (4, 2, (8, 8, 8)),
    "biased": (4, 4, (8, 8, 8)),
    "whole": (4, 4, (8, 8, 8)),
}
_USING_POSITIONS = ("rotary", "biased")

_names = st.sampled_from(["sdpa"] * 4 + ["layer"] * 2 + ["demo", "rotary", "biased", "whole"])
_versions = st.sampled_from(["", "2", "10"])
_dtypes = st.sampled_from(list(_LARGEST.items()))
_one_to_three = st.sampled_from([1, 2, 3])
_extreme = st.sampled_from(_EXTREMES)
_extremes = st.lists(_extreme, min_size=1, max_size=4)
_scales = st.none() | _extreme
_position = st.sampled_from([0, 1, 2, 5, 130, 2**31 - 1])
_sometimes = st.sampled_from([False, False, True])
_side = st.sampled_from([None, 0, 1, 2, 2**32 - 1])
_window = st.none() | st.builds(pb.SlidingWindow, left=_side, right=_side)
_top_k = st.sampled_from([0, 0, 1, 2, 2**32 - 1])
_causal = st.sampled_from(pb.CausalMode.values())
_data_types = st.sampled_from(
    [pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_BFLOAT16]
)


@cache
@st.composite
def _floats(draw: st.DrawFn, *shape: int, forbids: bool = False) -> pb.Tensor:
    """Draws numbers around 0 or of any finite size, -inf among them where it forbids."""
    dtype, largest = draw(_dtypes)
    if draw(_sometimes):
        values = np.clip(np.resize(draw(_extremes), shape), -largest, largest)
    else:
        values = np.sin(np.arange(1, 1 + np.prod(shape)) * draw(_one_to_three)).reshape(shape)
    if forbids and draw(_sometimes):
        values.flat[:: draw(_one_to_three)] = -np.inf
    return tensor.encode(values.astype(dtype))


@cache
def _booleans(*shape: int) -> st.SearchStrategy[pb.Tensor]:
    """Returns a strategy for masks of this shape, of bits that repeat after 16."""

    def mask(bits: bytes) -> pb.Tensor:
        return tensor.encode(
            np.resize(np.unpackbits(np.frombuffer(bits, np.uint8)), shape).astype(np.bool_)
        )

    return st.binary(min_size=2, max_size=2).map(mask)


@cache
@st.composite
def _positions(draw: st.DrawFn, *shape: int) -> pb.Tensor:
    """Draws positions, the highest among them."""
    values = np.resize(draw(st.lists(_position, min_size=1, max_size=4)), shape)
    return tensor.encode(values.astype(np.int32))


@cache
def _integers(count: int, end: int) -> st.SearchStrategy[list[int] | None]:
    """Returns a strategy for nothing, or for this many of 0 .. end - 1."""
    return st.none() | st.lists(st.integers(0, end - 1), min_size=count, max_size=count)


@cache
def _indices(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size - 1), max_size=3)


@cache
def _pairs(batch: int, heads: int, query_len: int, kv_len: int) -> Any:
    """Returns a strategy for the shapes of masks over pairs."""
    return st.sampled_from(
        [
            (query_len, kv_len),
            (batch, query_len, kv_len),
            *((*dims, kv_len) for dims in product({1, batch}, {1, heads}, {1, query_len})),
        ]
    )


@cache
@st.composite
def _masks(draw: st.DrawFn, batch: int, heads: int, query_len: int, kv_len: int) -> pb.Mask:
    """Draws masks that fit, each part there or not."""
    mask = pb.Mask(
        kv_lengths=draw(_integers(batch, kv_len + 1)),
        query_lengths=draw(_integers(batch, query_len + 1)),
        causal=draw(_causal),
        window=draw(_window),
    )
    if draw(_sometimes):
        mask.query_offsets.extend(draw(_integers(batch, 4)) or [2**31 - 1] * batch)
    if draw(_sometimes):
        mask.key_mask.CopyFrom(draw(_booleans(batch, kv_len)))
    shapes = _pairs(batch, heads, query_len, kv_len)
    if draw(_sometimes):
        mask.attend_mask.CopyFrom(draw(_booleans(*draw(shapes))))
    if draw(_sometimes):
        mask.attn_bias.CopyFrom(draw(_floats(*draw(shapes), forbids=True)))
    return mask


@cache
@st.composite
def _outputs(draw: st.DrawFn, heads: int, query_len: int) -> pb.OutputSpec:
    """Draws what to return, of heads and queries that are there."""
    omit, projections, head_outputs, log_sum_exp, scores = np.unpackbits(
        np.frombuffer(draw(st.binary(min_size=1, max_size=1)), np.uint8)
    )[:5].astype(bool)
    spec = pb.OutputSpec(
        omit_output=bool(omit),
        projections=bool(projections),
        head_outputs=bool(head_outputs),
        log_sum_exp=bool(log_sum_exp),
        data_type=draw(_data_types),
    )
    if scores:
        spec.scores.heads.extend(draw(_indices(heads)))
        spec.scores.query_indices.extend(draw(_indices(query_len)))
    if draw(st.booleans()):
        spec.weights.heads.extend(draw(_indices(heads)))
        spec.weights.query_indices.extend(draw(_indices(query_len)))
        spec.weights.average_heads = draw(_sometimes)
        spec.weights.top_k = draw(_top_k)
    return spec


@st.composite
def right_requests(draw: st.DrawFn) -> pb.AttendRequest:
    """Draws requests whose shapes fit, but whose numbers may be any."""
    batch, query_len, kv_len = draw(_one_to_three), draw(_one_to_three), draw(_one_to_three)
    name = draw(_names)
    if name == "sdpa":
        kv_heads = draw(_one_to_three)
        heads, size = kv_heads * draw(_one_to_three), draw(_one_to_three)
        widths = heads * size, kv_heads * size, kv_heads * draw(_one_to_three)
    else:
        heads, kv_heads, widths = _MODELS[name]
    request = pb.AttendRequest(
        model=name,
        model_version=draw(_versions) if name == "layer" else "",
        query=draw(_floats(batch, query_len, widths[0])),
        heads=pb.HeadConfig(
            num_heads=heads,
            num_kv_heads=kv_heads,
            scale=draw(_scales),
            ablated_heads=draw(_indices(heads)),
        ),
    )
    if widths[0] == widths[1] == widths[2] and draw(st.booleans()):
        kv_len = query_len
    else:
        request.key.CopyFrom(draw(_floats(batch, kv_len, widths[1])))
        request.value.CopyFrom(draw(_floats(batch, kv_len, widths[2])))
    if draw(_sometimes):
        request.heads.softcap = abs(draw(_extreme))
    if draw(st.booleans()):
        request.mask.CopyFrom(draw(_masks(batch, heads, query_len, kv_len)))
    if draw(st.booleans()):
        request.outputs.CopyFrom(draw(_outputs(heads, query_len)))
    if name in _USING_POSITIONS:
        if draw(st.booleans()):
            request.query_positions.CopyFrom(draw(_positions(batch, query_len)))
        if draw(_sometimes):
            request.key_positions.CopyFrom(draw(_positions(batch, kv_len)))
    elif name == "whole" and not draw(_sometimes):
        _leave_out_what_only_stages_can_do(request)
    return request


def _leave_out_what_only_stages_can_do(request: pb.AttendRequest) -> None:
    request.ClearField("heads")
    request.mask.ClearField("attn_bias")
    shape = request.mask.attend_mask.shape
    if len(shape) == 4 and shape[1] > 1:
        request.mask.ClearField("attend_mask")
    for part in ("scores", "projections", "head_outputs", "log_sum_exp"):
        request.outputs.ClearField(part)
