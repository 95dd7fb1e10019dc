"""What is odd but means something is answered as protobuf says; a part of a message is refused.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError, Message

from attention_service.v1 import attention_pb2 as pb
from tests.contract.pipelined import Call, ended
from tests.encoding import FIXED32, FIXED64, delimited, group, number, tag, varint
from tests.messages import BATCH, KV_LEN, QUERY_LEN, floats, layer, sdpa
from tests.wire import Refusal, Wire

GOOD = sdpa(
    mask=pb.Mask(kv_lengths=[KV_LEN, 2], causal=pb.CAUSAL_MODE_UPPER_LEFT),
    outputs=pb.OutputSpec(weights=pb.WeightsSpec(heads=[1, 0])),
)
BYTES = GOOD.SerializeToString()
QUERY = floats(BATCH, QUERY_LEN, 8)
MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE", ())
MODEL, MASK, HEADS, OUTPUTS, UNKNOWN = 2, 7, 8, 9, 99


def with_query(*parts: pb.Tensor) -> bytes:
    """Returns the good request with its query in parts."""
    rest = pb.AttendRequest()
    rest.CopyFrom(GOOD)
    rest.ClearField("query")
    queries = (pb.AttendRequest(query=part).SerializeToString() for part in parts)
    return rest.SerializeToString() + b"".join(queries)


ONE_LENGTH = sdpa(
    mask=pb.Mask(kv_lengths=[KV_LEN], causal=pb.CAUSAL_MODE_UPPER_LEFT), outputs=GOOD.outputs
).SerializeToString()

SAME = {
    "fields in the reverse order": b"".join(
        pb.AttendRequest(**{field.name: value}).SerializeToString()
        for field, value in reversed(GOOD.ListFields())
    ),
    "data of a query, then its shape": with_query(
        pb.Tensor(data=QUERY.data), pb.Tensor(data_type=QUERY.data_type, shape=QUERY.shape)
    ),
    "a shape in two queries": with_query(
        pb.Tensor(data_type=QUERY.data_type, shape=QUERY.shape[:1]),
        pb.Tensor(shape=QUERY.shape[1:], data=QUERY.data),
    ),
    "data twice, of which the last counts": with_query(
        pb.Tensor(data=b"another"),
        pb.Tensor(data_type=QUERY.data_type, shape=QUERY.shape, data=QUERY.data),
    ),
    "a model twice, of which the last counts": delimited(MODEL, b"../x") + BYTES,
    "num_heads twice, of which the last counts": delimited(HEADS, number(1, 2**32 - 1)) + BYTES,
    "a mask twice, its parts together": BYTES + delimited(MASK, b""),
    "a list in two pieces": ONE_LENGTH + delimited(MASK, delimited(1, varint(2))),
    "a list entry by entry": sdpa(
        mask=pb.Mask(causal=pb.CAUSAL_MODE_UPPER_LEFT), outputs=GOOD.outputs
    ).SerializeToString()
    + delimited(MASK, number(1, KV_LEN) + number(1, 2)),
    "num_heads in ten bytes": BYTES + delimited(HEADS, tag(1, 0) + b"\x82" + b"\x80" * 8 + b"\0"),
    "num_heads with bits beyond its 32": BYTES + delimited(HEADS, number(1, 2**32 + 2)),
    "a causal mode with bits beyond its 32": BYTES + delimited(MASK, number(5, 2**32 + 1)),
    "a flag that is 0 in ten bytes": BYTES + delimited(OUTPUTS, tag(1, 0) + b"\x80" * 9 + b"\0"),
    "a tag in five bytes": BYTES + b"\x92\x80\x80\x80\x00\x04sdpa",
    "query as a number, beside the query": BYTES + number(4, 1),
    "model as a fixed number, beside the model": BYTES + tag(MODEL, FIXED32) + bytes(4),
    "a number that is not known": BYTES + number(UNKNOWN, -1),
    "a fixed number that is not known": BYTES + tag(UNKNOWN, FIXED64) + bytes(8),
    "a megabyte that is not known": BYTES + delimited(UNKNOWN, b"\xff" * 2**20),
    "fields kept for later": BYTES + delimited(12, b"later") + number(15, 1),
    "a field of the largest number": BYTES + number(2**29 - 1, 1),
    "a group that is not known": BYTES + group(UNKNOWN, number(1, 1)),
    "a hundred groups inside each other": BYTES + group(UNKNOWN, depth=100),
    "query as a group, beside the query": BYTES + group(4, delimited(3, b"\xff")),
}


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


def tensors_of(answer: bytes) -> bytes:
    """Returns an answer but for how it was computed."""
    response = pb.AttendResponse.FromString(answer)
    response.ClearField("execution")
    return response.SerializeToString(deterministic=True)


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_other_spelling_of_a_request_has_the_same_answer(wire: Wire, data: bytes) -> None:
    assert tensors_of(wire.answer("Attend", data)) == tensors_of(wire.answer("Attend", BYTES))


def test_bytes_behind_a_window_of_64_bits_are_cut_to_32(wire: Wire) -> None:
    wide = BYTES + delimited(MASK, delimited(6, number(1, 2**40 + 1)))
    narrow = BYTES + delimited(MASK, delimited(6, number(1, 1)))

    assert tensors_of(wire.answer("Attend", wide)) == tensors_of(wire.answer("Attend", narrow))


@pytest.mark.parametrize(
    ("rpc", "good"),
    [
        ("Attend", GOOD),
        ("Attend", layer(request_id="é", mask=pb.Mask(attn_bias=floats(QUERY_LEN, KV_LEN)))),
        ("GetModel", pb.GetModelRequest(model="layer", model_version="10")),
        ("ListModels", pb.ListModelsRequest(page_size=300, page_token="layer/2")),
    ],
    ids=["sdpa", "layer", "GetModel", "ListModels"],
)
def test_request_cut_at_any_byte_is_refused_or_is_what_is_left_of_it(
    wire: Wire, rpc: str, good: Message
) -> None:
    data = good.SerializeToString()
    cuts = [Call(rpc, data[:end]) for end in range(len(data))]

    for call, future in ended(wire, cuts):
        left = understood(type(good), call.data)
        expected = MALFORMED if left is None else outcome(rpc, wire.begin(rpc, left))
        assert outcome(rpc, future) == expected, len(call.data)


def understood(message_type: type[Message], data: bytes) -> Message | None:
    try:
        return message_type.FromString(data)
    except DecodeError:
        return None


def outcome(rpc: str, call: Any) -> Any:
    """Returns the answer, or what was wrong."""
    try:
        answer = call.result()
    except grpc.RpcError as error:
        refusal = Refusal.of(error)
        return refusal.code, refusal.reason, refusal.fields
    return tensors_of(answer) if rpc == "Attend" else answer
