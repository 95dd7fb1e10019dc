"""What is taken apart is, put together again, what protobuf reads."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_service import tensor
from attention_service.apart import Seams
from attention_service.spliced import BytesField, spliced
from attention_service.v1 import attention_pb2 as pb
from tests.contract.fuzz.byte_mutations import BYTE_MUTATIONS
from tests.contract.fuzz.chance import Chance

PATHS = ("request_id", "timeout", "request.query.data", "request.mask.attn_bias.data")
SEAMS = Seams(pb.AttendStreamRequest, dict(zip(PATHS, PATHS, strict=True)))
FIELDS = {path: BytesField(pb.AttendStreamRequest, path) for path in PATHS}


def request() -> pb.AttendStreamRequest:
    message = pb.AttendStreamRequest(request_id="7", chunked=True)
    message.timeout.FromMilliseconds(2500)
    message.request.model = "m"
    message.request.mask.kv_lengths.extend([3, 300])
    tensor.fill(message.request.query, np.arange(200, dtype=np.float32).reshape(2, 100))
    tensor.fill(message.request.mask.attn_bias, np.ones((1, 1, 1, 1), np.float16))
    return message


def test_parts_are_views_and_the_rest_is_the_message_without_them() -> None:
    data = request().SerializeToString()

    apart = SEAMS.take_apart(data)

    assert apart is not None
    assert {path: bytes(part) for path, part in apart.parts.items()} == {
        "request_id": b"7",
        "timeout": request().timeout.SerializeToString(),
        "request.query.data": request().request.query.data,
        "request.mask.attn_bias.data": request().request.mask.attn_bias.data,
    }
    assert all(part.obj is data for part in apart.parts.values())
    without = request()
    without.request_id = ""
    without.ClearField("timeout")
    without.request.query.ClearField("data")
    without.request.mask.attn_bias.ClearField("data")
    assert apart.rest == without.SerializeToString()


def test_spliced_messages_are_taken_apart_too() -> None:
    array = np.ones(3, np.float32)
    head = pb.AttendStreamRequest(request_id="7", request=pb.AttendRequest(model="m"))

    apart = SEAMS.take_apart(spliced(head.SerializeToString(), [(FIELDS[PATHS[2]], array)]))

    assert apart is not None
    assert bytes(apart.parts[PATHS[2]]) == array.tobytes()


@pytest.mark.parametrize(
    "more",
    {
        "a part twice": pb.AttendStreamRequest(request_id="8"),
        "another of the oneof": pb.AttendStreamRequest(chunk=pb.TensorChunk(field="query")),
    }.items(),
    ids=lambda row: row[0],
)
def test_what_would_not_be_merged_is_left_to_protobuf(more: tuple[str, Message]) -> None:
    assert SEAMS.take_apart(request().SerializeToString() + more[1].SerializeToString()) is None


def test_many_fields_are_left_to_protobuf() -> None:
    assert SEAMS.take_apart(b"\x28\x01" * 60) is not None
    assert SEAMS.take_apart(b"\x28\x01" * 64) is None


def test_a_large_field_that_is_no_part_is_left_to_protobuf() -> None:
    short, long = (request() for _ in range(2))
    short.request.model, long.request.model = "m" * 4096, "m" * 4097

    assert SEAMS.take_apart(short.SerializeToString()) is not None
    assert SEAMS.take_apart(long.SerializeToString()) is None


def _parsed(data: bytes) -> Message | None:
    try:
        return pb.AttendStreamRequest.FromString(data)
    except DecodeError:
        return None


@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 1 << 32), times=st.integers(0, 2), others=st.integers(0, 3))
def test_says_what_protobuf_says_of_whatever_bytes(seed: int, times: int, others: int) -> None:
    chance = Chance(seed)
    chunk = pb.AttendStreamRequest(chunk=pb.TensorChunk(field="query"))
    all_of_it = (chunk, request(), request(), chunk)[others:]
    data = b"".join(message.SerializeToString() for message in all_of_it)
    for _ in range(times):
        data = chance.one_of(BYTE_MUTATIONS)(chance, data)

    apart = SEAMS.take_apart(data)

    if apart is not None:
        whole = spliced(
            apart.rest, [(FIELDS[path], bytes(part)) for path, part in apart.parts.items()]
        )
        assert _parsed(whole) == _parsed(data)
