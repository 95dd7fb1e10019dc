"""What a stream answers: each request once, in band, and the stream goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from attention_server import EmbeddedServer
from attention_server.edge import open_requests
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed import limits
from tests.contract.malformed.table import ROWS
from tests.messages import booleans, floats, layer, masked, raw, sdpa
from tests.stream import Stream, cancel, chunk, in_chunks, request
from tests.wire import Wire

GOOD = sdpa()
LONGEST = raw(pb.DATA_TYPE_FLOAT32, (1, 2**31 - 1, 8), b"")
KEY_BYTES = len(GOOD.key.data)
FLOAT32 = pb.DATA_TYPE_FLOAT32
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNAVAILABLE, LATE = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED
ANSWERED = "answered"
MANY_HEADS = pb.OutputSpec(weights=pb.WeightsSpec(heads=[0] * 400_000))


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


@pytest.fixture(scope="module")
def small_wire() -> Iterator[Wire]:
    """A connection to a server of small limits."""
    with EmbeddedServer(demo=False, **limits.SETTINGS) as server, Wire(server.address) as wire:
        yield wire


def outcome(answer: pb.AttendStreamResponse) -> Any:
    """Returns ANSWERED, or code, reason and fields of the error."""
    if answer.WhichOneof("part") == "response":
        return ANSWERED
    error = answer.error
    (code,) = (code for code in grpc.StatusCode if code.value[0] == error.code)
    return (code, error.reason, *(violation.field for violation in error.violations))


def short(**data: bytes) -> pb.AttendRequest:
    """Returns a good request whose tensors have only this of their data."""
    message = sdpa()
    for name in ("query", "key", "value"):
        getattr(message, name).data = data.get(name, b"")
    return message


CHUNKED = request("a", short(), chunked=True)
WRONG: dict[str, tuple[list[pb.AttendStreamRequest], Any]] = {
    "no id": ([request("", GOOD)], (INVALID, "INVALID_NAME", "request_id")),
    "an id that is too long": (
        [request("a" * 129, GOOD)],
        (INVALID, "INVALID_NAME", "request_id"),
    ),
    "an id that is no ASCII": ([request("é", GOOD)], (INVALID, "INVALID_NAME", "request_id")),
    "an id that cannot be printed": (
        [request("a\n", GOOD)],
        (INVALID, "INVALID_NAME", "request_id"),
    ),
    "another id inside": (
        [request("a", sdpa(request_id="b"))],
        (INVALID, "INVALID_NAME", "request.request_id"),
    ),
    "no part": ([pb.AttendStreamRequest(request_id="a")], (INVALID, "MISSING_FIELD", "part")),
    "no model of this name": ([request("a", sdpa(model="x"))], (NOT_FOUND, "MODEL_NOT_FOUND")),
    "no time": ([request("a", GOOD, timeout=Duration())], (LATE, "DEADLINE_EXCEEDED")),
    "time that is over": (
        [request("a", GOOD, timeout=Duration(seconds=-1))],
        (LATE, "DEADLINE_EXCEEDED"),
    ),
    "time that is none": (
        [request("a", GOOD, timeout=Duration(seconds=1, nanos=-1))],
        (INVALID, "OUT_OF_RANGE", "timeout"),
    ),
    "short data without chunks": (
        [request("a", short())],
        (INVALID, "INVALID_BYTE_LENGTH", "query.data"),
    ),
    "more fields than any request has": (
        [request("a", pb.AttendRequest(outputs=MANY_HEADS))],
        (INVALID, "LENGTH_LIMIT", "request.outputs.weights.heads"),
    ),
    "more data than a shape says": (
        [request("a", short(query=b"0" * 999), chunked=True)],
        (INVALID, "INVALID_BYTE_LENGTH", "query.data"),
    ),
    "more chunks than a shape says": (
        [CHUNKED, chunk("a", "key", b"0" * KEY_BYTES), chunk("a", "key", b"0")],
        (INVALID, "INVALID_BYTE_LENGTH", "key.data"),
    ),
    "a chunk of a tensor that is not announced": (
        [CHUNKED, chunk("a", "mask.attn_bias", b"0")],
        (INVALID, "MISSING_FIELD", "chunk.field"),
    ),
    "a chunk of what is no tensor": (
        [CHUNKED, chunk("a", "model", b"0")],
        (INVALID, "MISSING_FIELD", "chunk.field"),
    ),
    "chunks that do not come": (
        [CHUNKED, chunk("a", "query", b"0")],
        (INVALID, "INVALID_BYTE_LENGTH", "query.data"),
    ),
    "chunks that are not finite": (
        list(in_chunks("a", sdpa(key=floats(2, 4, 8, fill=np.nan)), 64)),
        (INVALID, "NON_FINITE", "key"),
    ),
    "announced: another element type": (
        [request("a", sdpa(query=raw(pb.DATA_TYPE_BOOL, (2, 3, 8), b"")), chunked=True)],
        (INVALID, "INVALID_DATA_TYPE", "query.data_type"),
    ),
    "announced: another width": (
        [request("a", sdpa(key=raw(FLOAT32, (2, 4, 9), b"")), chunked=True)],
        (INVALID, "INVALID_SHAPE", "key.shape"),
    ),
    "announced: a mask of other pairs": (
        [request("a", masked(attn_bias=raw(FLOAT32, (3, 5), b"")), chunked=True)],
        (INVALID, "INVALID_SHAPE", "mask.attn_bias.shape"),
    ),
    "announced: a mask of numbers": (
        [request("a", masked(attend_mask=raw(FLOAT32, (3, 4), b"")), chunked=True)],
        (INVALID, "INVALID_DATA_TYPE", "mask.attend_mask.data_type"),
    ),
    "announced: positions that are not used": (
        [request("a", sdpa(query_positions=raw(pb.DATA_TYPE_INT32, (2, 3), b"")), chunked=True)],
        (INVALID, "POSITIONS_NOT_USED", "query_positions"),
    ),
    "announced: more than any server has": (
        [
            request(
                "a",
                sdpa(query=raw(FLOAT32, (1, 2**31 - 1, 8), b""), key=None, value=None),
                chunked=True,
            )
        ],
        (INVALID, "LENGTH_LIMIT", "query"),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_once_in_band_and_the_stream_goes_on(wire: Wire, what: str) -> None:
    messages, expected = WRONG[what]
    late_chunks = [chunk("a", "query", b"0" * 999), cancel("a")]
    with Stream(wire) as stream:
        stream.send(*messages)
        if what == "chunks that do not come":
            answers = stream.rest()
        else:
            answers = [stream.read()]
            stream.send(*late_chunks, request("b", GOOD))
            answers += stream.rest()

    name = messages[0].request_id[:128]
    assert [answer.request_id for answer in answers] == [name, "b"][: len(answers)]
    assert [outcome(answer) for answer in answers] == [expected, ANSWERED][: len(answers)]
    assert all(v.description for v in answers[0].error.violations)


RIGHT: dict[str, pb.AttendRequest] = {
    "sdpa": GOOD,
    "self-attention": sdpa(key=None, value=None),
    "a model": layer(),
    "every mask": masked(
        key_mask=booleans(2, 4), attend_mask=booleans(3, 4), attn_bias=floats(2, 1, 3, 4)
    ),
    "a mask of sequences": masked(attend_mask=booleans(2, 3, 4), kv_lengths=[4, 2]),
    "half precision": sdpa(
        query=floats(2, 3, 8, dtype=np.float16),
        key=floats(2, 4, 8, dtype=ml_dtypes.bfloat16),
        value=floats(2, 4, 6),
    ),
}


@pytest.mark.parametrize("what", RIGHT)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_chunks_carry_what_a_message_does(wire: Wire, what: str, size: int) -> None:
    expected = pb.AttendResponse.FromString(wire.answer("Attend", RIGHT[what]))
    with Stream(wire) as stream:
        stream.send(*in_chunks("a", RIGHT[what], size))
        (answer,) = stream.rest()

    answer.response.ClearField("execution")
    expected.ClearField("execution")
    assert answer.response == expected


def test_data_in_the_first_message_is_gone_on_with(wire: Wire) -> None:
    with Stream(wire) as stream:
        stream.send(
            request("a", short(query=GOOD.query.data, key=GOOD.key.data[:5]), chunked=True),
            chunk("a", "key", b""),
            chunk("a", "value", GOOD.value.data),
            chunk("a", "key", GOOD.key.data[5:]),
            request("b", GOOD),
        )
        first, second = sorted(stream.rest(), key=lambda answer: answer.request_id)

    assert first.response.output == second.response.output


@pytest.mark.parametrize(
    ("data_type", "dtype"),
    [
        (pb.DATA_TYPE_FLOAT32, np.float32),
        (pb.DATA_TYPE_FLOAT16, np.float16),
        (pb.DATA_TYPE_BFLOAT16, ml_dtypes.bfloat16),
    ],
)
def test_large_tensors_of_an_answer_come_in_chunks(
    wire: Wire, data_type: pb.DataType.ValueType, dtype: Any
) -> None:
    attend = sdpa(query=floats(1, 700, 8), key=None, value=None)
    attend.outputs.CopyFrom(
        pb.OutputSpec(
            weights=pb.WeightsSpec(), scores=pb.ScoresSpec(), log_sum_exp=True, data_type=data_type
        )
    )
    expected = pb.AttendResponse.FromString(wire.answer("Attend", attend))
    with Stream(wire) as stream:
        stream.send(request("a", attend))
        answer = stream.answer()
        assert stream.rest() == []

    assert answer.chunked
    answer.response.ClearField("execution")
    expected.ClearField("execution")
    assert answer.response == expected
    assert len(expected.weights.data) == 2 * 700 * 700 * np.dtype(dtype).itemsize


def test_no_message_of_a_large_answer_is_much_over_a_mebibyte(wire: Wire) -> None:
    attend = sdpa(query=floats(1, 1000, 8), key=None, value=None)
    attend.outputs.weights.SetInParent()
    with Stream(wire) as stream:
        stream.send(request("a", attend))
        sizes = [answer.ByteSize() for answer in stream.rest()]

    assert len(sizes) == 1 + 8
    assert max(sizes) < (1 << 20) + 1000


def test_errors_in_band_say_what_the_status_of_a_call_says(wire: Wire) -> None:
    rows = {
        f"{i}": row.request
        for i, row in enumerate(ROWS)
        if isinstance(row.request, pb.AttendRequest) and not row.request.request_id
    }
    with Stream(wire) as stream:
        stream.send(*(request(name, attend) for name, attend in rows.items()))
        answers = stream.rest()

    assert sorted(answer.request_id for answer in answers) == sorted(rows)
    for answer in answers:
        error, said = answer.error, wire.refusal("Attend", rows[answer.request_id])
        assert (error.code, error.message) == (said.code.value[0], said.message)
        assert error.reason == said.reason
        assert tuple((v.field, v.description) for v in error.violations) == tuple(
            zip(said.fields, said.descriptions, strict=True)
        )


def test_messages_without_effect_have_none(wire: Wire) -> None:
    with Stream(wire) as stream:
        stream.send(
            cancel("nobody"), chunk("nobody", "query", b"0"), cancel(""), chunk("", "", b"")
        )
        stream.send(request("a", GOOD))
        assert outcome(stream.read()) == ANSWERED
        stream.send(cancel("a"), chunk("a", "query", b"0"))

        assert stream.rest() == []


def test_id_is_free_again_once_its_answer_is_read(wire: Wire) -> None:
    with Stream(wire) as stream:
        for _ in range(20):
            stream.send(request("a", GOOD))
            assert outcome(stream.read()) == ANSWERED
        stream.send(request("a", sdpa(model="x")))
        assert outcome(stream.read()) == (NOT_FOUND, "MODEL_NOT_FOUND")
        stream.send(request("a", GOOD))
        assert outcome(stream.read()) == ANSWERED


def test_ids_of_the_longest_and_of_every_character_are_answered(wire: Wire) -> None:
    ids = ["a" * 128, "".join(map(chr, range(0x20, 0x7F))), " "]
    with Stream(wire) as stream:
        stream.send(*(request(name, sdpa(request_id=name)) for name in ids))
        answers = stream.rest()

    assert sorted(answer.request_id for answer in answers) == sorted(ids)
    assert all(answer.response.request_id == answer.request_id for answer in answers)


def test_cancelled_request_ends_in_an_error_and_its_chunks_are_dropped(wire: Wire) -> None:
    with Stream(wire) as stream:
        stream.send(CHUNKED, cancel("a"), chunk("a", "query", b"0"), cancel("a"))

        assert [outcome(answer) for answer in stream.rest()] == [
            (grpc.StatusCode.CANCELLED, "CANCELLED")
        ]


def test_no_more_than_a_few_requests_wait_for_chunks(wire: Wire) -> None:
    most = open_requests.MOST_IN_CHUNKS
    with Stream(wire) as stream:
        stream.send(*(request(f"{i}", short(), chunked=True) for i in range(most + 1)))
        refused = stream.read()

        assert (refused.request_id, outcome(refused)) == (f"{most}", (UNAVAILABLE, "QUEUE_FULL"))
        assert refused.error.retry_after.ToNanoseconds() > 0
        stream.send(*list(in_chunks("0", GOOD, 100))[1:], request("b", GOOD))
        answered = {stream.read().request_id for _ in range(2)}
    assert answered == {"0", "b"}


def test_bytes_that_are_no_message_end_the_stream(wire: Wire) -> None:
    with Stream(wire) as stream:
        stream.send(b"\xff\xff\xff")
        refusal = stream.refusal()

    assert (refusal.code, refusal.reason) == (INVALID, "MALFORMED_MESSAGE")
    assert wire.answer("Attend", GOOD)


def test_bytes_that_are_no_message_end_a_stream_that_is_being_answered(wire: Wire) -> None:
    for _ in range(50):
        with Stream(wire) as stream:
            stream.send(request("a", GOOD), request("b", sdpa(model="x")), b"\xff")
            _, refusal = stream.ended()

        assert refusal is not None
        assert refusal.reason == "MALFORMED_MESSAGE"


def test_a_stream_without_requests_ends_well(wire: Wire) -> None:
    with Stream(wire) as stream:
        assert stream.rest() == []


def test_an_answer_over_a_message_goes_over_a_stream(small_wire: Wire) -> None:
    one_head = pb.HeadConfig(num_heads=1)
    attend = sdpa(query=floats(4, 16, 500), key=None, value=None, heads=one_head)  # 125 KiB
    half = sdpa(query=floats(4, 16, 500, dtype=np.float16), key=None, value=None, heads=one_head)
    said = small_wire.refusal("Attend", half).message

    assert said.endswith("ask for FLOAT16, send fewer sequences, or use AttendStream")
    with Stream(small_wire) as stream:
        stream.send(*in_chunks("a", attend, 30_000), request("b", half))
        answers = {answer.request_id: answer for answer in stream.rest()}
    assert {name: outcome(answer) for name, answer in answers.items()} == {
        "a": ANSWERED,
        "b": ANSWERED,
    }
    assert len(answers["a"].response.output.data) == 4 * 4 * 16 * 500


def test_what_no_stream_carries_is_refused_with_its_first_message(small_wire: Wire) -> None:
    tensor = raw(FLOAT32, (1, 16, 1600), b"")  # 100 KiB each of 256 KiB
    attend = sdpa(
        query=tensor,
        key=tensor,
        value=tensor,
        heads=pb.HeadConfig(num_heads=1),
        outputs=pb.OutputSpec(omit_output=True, log_sum_exp=True),
    )
    with Stream(small_wire) as stream:
        stream.send(request("a", attend, chunked=True))
        answer = stream.read()

    assert outcome(answer) == (INVALID, "MESSAGE_LIMIT")
    assert answer.error.message == (
        "the request takes 307200 bytes, at most 262144 fit on a stream; "
        "send fewer sequences at once, or FLOAT16"
    )
