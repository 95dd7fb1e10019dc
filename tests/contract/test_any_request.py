"""Whatever is sent, the answer is finite or an error that is the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from tests.messages import floats, layer, sdpa
from tests.wire import Refusal, Wire

GOOD = [
    sdpa(mask=pb.Mask(kv_lengths=[4, 2], attn_bias=floats(3, 4))).SerializeToString(),
    layer(outputs=pb.OutputSpec(weights=pb.WeightsSpec(top_k=2))).SerializeToString(),
]
CALLERS_FAULT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
FLOAT32 = np.finfo(np.float32)
EXTREMES = [0.0, 1.0, -1.0, 1e-45, 1e19, -1e19, 1e38, float(FLOAT32.max), float(FLOAT32.min)]
LARGEST: dict[Any, float] = {
    np.float32: float(FLOAT32.max),
    np.float16: 65504.0,
    ml_dtypes.bfloat16: 3.3895313892515355e38,
}


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


def ask(wire: Wire, message: bytes) -> pb.AttendResponse | None:
    """Returns the answer; None where the caller is told what is wrong."""
    try:
        return pb.AttendResponse.FromString(wire.answer("Attend", message))
    except grpc.RpcError as error:
        refusal = Refusal.of(error)
        assert refusal.code in CALLERS_FAULT
        assert refusal.reason
        return None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draws a good request of which a few bytes are others, missing or too many."""
    message = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(message) - 1))
        message[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(message)


@given(message=st.binary(max_size=64) | damaged())
def test_bytes_are_answered_or_refused(wire: Wire, message: bytes) -> None:
    ask(wire, message)


@st.composite
def tensors(draw: st.DrawFn, *shape: int) -> pb.Tensor:
    """Draws floats of any finite size, in one of the three types."""
    any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = draw(st.lists(st.sampled_from(EXTREMES) | any_float, min_size=1))
    dtype, largest = draw(st.sampled_from(list(LARGEST.items())))
    return tensor.encode(np.resize(np.clip(values, -largest, largest), shape).astype(dtype))


@st.composite
def requests(draw: st.DrawFn) -> pb.AttendRequest:
    """Draws requests whose shapes fit, but whose numbers may be any."""
    batch, heads, query_len, kv_len = (draw(st.integers(1, 3)) for _ in range(4))
    numbers = st.sampled_from(EXTREMES)
    lengths = st.lists(st.integers(0, kv_len), min_size=batch, max_size=batch)
    sides = st.none() | st.sampled_from([0, 1, 2**32 - 1])
    selected = st.lists(st.integers(0, heads - 1), max_size=3)
    mask = pb.Mask(
        kv_lengths=draw(st.none() | lengths),
        query_offsets=draw(st.none() | st.just([2**31 - 1] * batch)),
        causal=draw(st.sampled_from(pb.CausalMode.values())),
        window=draw(st.none() | st.builds(pb.SlidingWindow, left=sides, right=sides)),
        attn_bias=draw(st.none() | tensors(batch, 1, query_len, kv_len)),
    )
    return pb.AttendRequest(
        model="sdpa",
        query=draw(tensors(batch, query_len, 2 * heads)),
        key=draw(tensors(batch, kv_len, 2 * heads)),
        value=draw(tensors(batch, kv_len, 3 * heads)),
        mask=mask,
        heads=pb.HeadConfig(
            num_heads=heads,
            scale=draw(st.none() | numbers),
            softcap=draw(st.none() | numbers.map(abs)),
            ablated_heads=draw(selected),
        ),
        outputs=pb.OutputSpec(
            weights=draw(
                st.builds(
                    pb.WeightsSpec,
                    heads=selected,
                    average_heads=st.booleans(),
                    top_k=st.sampled_from([0, 1, 2**32 - 1]),
                )
            ),
            scores=draw(st.none() | st.just(pb.ScoresSpec())),
            projections=draw(st.booleans()),
            head_outputs=draw(st.booleans()),
            log_sum_exp=draw(st.booleans()),
        ),
    )


@given(request=requests())
def test_answer_is_finite_or_there_is_an_error(wire: Wire, request: pb.AttendRequest) -> None:
    response = ask(wire, request.SerializeToString())
    if response is None:
        return
    for field, value in response.ListFields():
        if isinstance(value, pb.Tensor):
            array = tensor.decode(value)
            blind = array == -np.inf if field.name == "log_sum_exp" else False
            assert (np.isfinite(array) | blind).all(), field.name


@given(request=requests())
def test_weights_of_a_row_sum_to_one_or_to_nothing(wire: Wire, request: pb.AttendRequest) -> None:
    request.outputs.weights.CopyFrom(pb.WeightsSpec())
    response = ask(wire, request.SerializeToString())
    if response is not None:
        sums = tensor.decode(response.weights).sum(axis=-1)
        assert (np.isclose(sums, 1.0, atol=1e-6) | (sums == 0.0)).all()
