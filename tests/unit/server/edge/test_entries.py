from __future__ import annotations

import random

import pytest
from google.protobuf.message import DecodeError, Message

from attention_server.domain.errors import LimitExceeded
from attention_server.edge.entries import check_entries
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.encoding import FIXED32, FIXED64, delimited, group, number, tag
from tests.messages import floats, raw, sdpa

LENGTH, BATCH = 100, 4
LIMITS = Limits(
    message_bytes=1 << 20, batch=BATCH, length=LENGTH, work=1 << 20, stream_bytes=1 << 20
)
MANY = 5000

LONGEST = pb.AttendRequest(
    mask=pb.Mask(kv_lengths=[LENGTH] * BATCH, query_lengths=[1] * BATCH, query_offsets=[0] * BATCH),
    heads=pb.HeadConfig(ablated_heads=[1] * LENGTH),
    outputs=pb.OutputSpec(
        weights=pb.WeightsSpec(heads=[1] * LENGTH, query_indices=[2**32 - 1] * LENGTH),
        scores=pb.ScoresSpec(heads=[1] * LENGTH, query_indices=[0] * LENGTH),
    ),
)


def bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


TOO_MANY = {
    "entries of a list": (
        "mask.kv_lengths",
        bytes_of(pb.AttendRequest(mask=pb.Mask(kv_lengths=[1] * MANY))),
    ),
    "entries of more bytes": (
        "heads.ablated_heads",
        bytes_of(pb.AttendRequest(heads=pb.HeadConfig(ablated_heads=[2**32 - 1] * MANY))),
    ),
    "entries, each a field": ("mask.kv_lengths", b"\x3a\x90\x4e" + b"\x08\x01" * MANY),
    "entries, each in a mask of its own": ("mask", b"\x3a\x02\x08\x01" * MANY),
    "dimensions": ("query.shape", bytes_of(sdpa(query=raw(1, (1,) * MANY, b"")))),
    "dimensions of a mask": (
        "mask.attn_bias.shape",
        bytes_of(pb.AttendRequest(mask=pb.Mask(attn_bias=raw(1, (1,) * MANY, b"")))),
    ),
    "queries": ("query", b"\x22\x00" * MANY),
    "unknown numbers": ("", b"\x78\x01" * MANY),
    "unknown groups": ("", b"\x7b\x7c" * MANY),
    "fields in a group": ("", group(15, b"\x08\x01" * MANY)),
    "entries behind a group that holds no query": (
        "mask.kv_lengths",
        group(15, delimited(4, b"\xff")) + delimited(7, delimited(1, b"\x01" * MANY)),
    ),
    "entries behind groups of the query's number": (
        "mask.kv_lengths",
        group(4, group(4, delimited(7, b"\x0f"), 3) + delimited(4, b"\x0c"))
        + delimited(7, group(1, delimited(2, b"\x07")) + delimited(1, b"\x01" * MANY)),
    ),
}


@pytest.mark.parametrize(("field", "data"), TOO_MANY.values(), ids=TOO_MANY)
def test_more_fields_and_entries_than_any_request_needs_are_refused_where_they_are(
    field: str, data: bytes
) -> None:
    with pytest.raises(LimitExceeded) as caught:
        check_entries(pb.AttendRequest, data, LIMITS)

    assert caught.value.reason is Reason.LENGTH_LIMIT
    assert [violation.field for violation in caught.value.violations] == [field]
    most = 5 * LENGTH + 3 * BATCH + 4096
    assert f"at most {most} fields and list entries" in caught.value.message


def test_a_question_about_heads_may_hold_pairs_beside_its_request() -> None:
    def asking(pairs: int, lists: int) -> bytes:
        every = pb.Relation(name="r", pairs=[pb.Pair(sequence=1, query=1, key=1)] * pairs)
        attend = pb.AttendRequest(mask=pb.Mask(kv_lengths=[1] * lists))
        return bytes_of(pb.AnalyzeHeadsRequest(attend=attend, relations=[every]))

    most = 9 * LENGTH + 3 * BATCH + 4096
    check_entries(pb.AnalyzeHeadsRequest, asking(LENGTH, most - 5 - 4 * LENGTH), LIMITS)
    for pairs, lists, field in (
        (LENGTH, most - 4 - 4 * LENGTH, "relations.pairs.key"),
        (most, 0, "relations.pairs"),
        (0, most, "attend.mask.kv_lengths"),
    ):
        with pytest.raises(LimitExceeded) as caught:
            check_entries(pb.AnalyzeHeadsRequest, asking(pairs, lists), LIMITS)
        assert caught.value.violations[0].field.startswith(field)


@pytest.mark.parametrize(
    "data",
    [
        bytes_of(LONGEST),
        bytes_of(sdpa(query=floats(MANY, 4, 4))),
        bytes_of(sdpa(model="x" * MANY)),
        bytes_of(sdpa()) + b"\x7a\x88\x27" + bytes(MANY),
        bytes_of(LONGEST) + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x78" * 2,
        group(15, delimited(7, delimited(1, b"\x01" * MANY))),
    ],
    ids=["longest lists", "data", "text", "unknown bytes", "unknown numbers", "a list in a group"],
)
def test_bytes_of_a_request_within_the_limits_pass(data: bytes) -> None:
    check_entries(pb.AttendRequest, data, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * MANY,
        b"\x0f" * MANY,
        b"\x22\xff\xff\xff\xff\x07" * MANY,
        b"\x3a\xfe\x4d" + bytes(MANY),
        b"\x08\x01" * (MANY // 2) + b"\x80" * MANY,
        b"\x7c" * MANY,
        b"\x7b\x74" + b"\x08\x01" * MANY,
        delimited(7, b"\x7b") + b"\x7c" + b"\x08\x01" * MANY,
    ],
    ids=[
        "a number without end",
        "no wire type",
        "a length beyond the end",
        "a cut",
        "cut later",
        "the end of a group that did not begin",
        "the end of another group",
        "a group's end outside its message",
    ],
)
def test_bytes_that_are_no_message_are_left_to_parsing(data: bytes) -> None:
    check_entries(pb.AttendRequest, data, LIMITS)


def test_few_bytes_are_not_looked_at() -> None:
    check_entries(pb.AttendRequest, b"\x08\x01" * 2000, LIMITS)


def test_one_entry_too_many_is_found_in_whatever_protobuf_can_read(
    fuzz_seed: int, fuzz_times: int
) -> None:
    draw = random.Random(fuzz_seed)  # noqa: S311 - no secret
    most = 5 * LENGTH + 3 * BATCH + 4096
    read = 0
    for _ in range(3000 * fuzz_times):
        data = drawn_message(draw)
        try:
            entries = entries_of(pb.AttendRequest.FromString(data))
        except DecodeError:
            continue
        read += 1
        rest = delimited(7, delimited(1, b"\x01" * (most + 1 - entries)))
        with pytest.raises(LimitExceeded):
            check_entries(pb.AttendRequest, data + rest, LIMITS)

    assert read > 1000 * fuzz_times


def drawn_message(draw: random.Random, depth: int = 0) -> bytes:
    """Returns bytes that may be a message, known fields and unknown ones, groups and nonsense."""
    parts = []
    for _ in range(draw.randrange(4)):
        field = draw.choice((1, 2, 4, 7, 8, 9, 15, 99))
        inner = drawn_message(draw, depth + 1) if depth < 4 else b"\x01\x80\x01"
        kinds = (
            lambda field=field: number(field, draw.randrange(1 << draw.randrange(1, 65))),
            lambda field=field, inner=inner: delimited(field, inner),
            lambda field=field, inner=inner: group(field, inner, draw.randrange(1, 4)),
            lambda field=field: delimited(field, draw.randbytes(draw.randrange(9))),
            lambda field=field: delimited(field, b"\x01" * draw.randrange(300)),
            lambda field=field: tag(field, FIXED64) + draw.randbytes(8),
            lambda field=field: tag(field, FIXED32) + draw.randbytes(4),
        )
        parts.append(draw.choice(kinds)())
    if not draw.randrange(20):
        parts.append(draw.randbytes(2))
    return b"".join(parts)


def entries_of(message: Message) -> int:
    """Returns how many list entries the message holds, those of its messages included."""
    count = 0
    for _, value in message.ListFields():
        if isinstance(value, Message):
            count += entries_of(value)
        elif not isinstance(value, (str, bytes, int, float)):
            count += len(value)
    return count
