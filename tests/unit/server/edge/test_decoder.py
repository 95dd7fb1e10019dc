from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest, LimitExceeded, RequestError
from attention_server.domain.model import SDPA
from attention_server.edge.decode import Decoded
from attention_server.edge.decoder import Decoder, StreamDecoder
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.spliced import BytesField, spliced
from attention_service.v1 import attention_pb2 as pb
from tests.messages import booleans, floats, masked, raw, sdpa

LIMITS = Limits(message_bytes=1 << 26, batch=256, length=1000, work=1 << 36, stream_bytes=1 << 30)
SPLICED = BytesField(pb.AttendRequest, "query.data")


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(Catalog([SDPA]), LIMITS)


@pytest.fixture
def stream_decoder() -> StreamDecoder:
    return StreamDecoder(Catalog([SDPA]), LIMITS)


def decoded(decoder: Decoder, message: pb.AttendRequest) -> Decoded:
    return decoder.decode(message.SerializeToString())


def on_stream(message: pb.AttendRequest, **fields: Any) -> bytes:
    message.request_id = ""
    return pb.AttendStreamRequest(request_id="7", request=message, **fields).SerializeToString()


def numbers(request: Any) -> dict[str, Any]:
    """Every array of a request, and all else."""
    found = {**vars(request), **vars(request.mask)}
    del found["mask"]
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


def test_requests_of_one_form_share_what_was_checked_but_no_id_and_no_data(
    decoder: Decoder,
) -> None:
    first, second = sdpa(request_id="a"), sdpa(request_id="b")
    second.query.data = np.full((2, 3, 8), 0.25, "<f4").tobytes()

    (one, one_form), (other, other_form) = (decoded(decoder, m) for m in (first, second))

    assert other.mask is one.mask
    assert not one.mask.kv_lengths.flags.writeable
    assert (one_form.request_id, other_form.request_id) == ("a", "b")
    assert (other.query == 0.25).all()
    assert not (one.query == 0.25).all()


@pytest.mark.parametrize(
    "message",
    [
        sdpa(),
        sdpa(key=None, value=None),
        sdpa(value=None),
        masked(attn_bias=floats(3, 4), key_mask=booleans(2, 4)),
        masked(kv_lengths=[3, 1]),
        sdpa(query=raw(pb.DATA_TYPE_BFLOAT16, (2, 3, 8), bytes(96))),
    ],
    ids=["three", "self-attention", "no value", "masks", "lengths", "bfloat16"],
)
def test_what_is_known_is_read_as_what_is_new(decoder: Decoder, message: pb.AttendRequest) -> None:
    new, known = decoded(decoder, message), decoded(decoder, message)

    assert known.request.mask.kv_lengths is new.request.mask.kv_lengths
    assert known.form == new.form
    assert numbers(known.request) == numbers(new.request)
    assert (known.request.key is known.request.query) is (new.request.key is new.request.query)
    assert (known.request.value is known.request.key) is (new.request.value is new.request.key)


@pytest.mark.parametrize(
    "other",
    [
        sdpa(mask=pb.Mask(causal=pb.CAUSAL_MODE_UPPER_LEFT)),
        sdpa(mask=pb.Mask(kv_lengths=[3, 1])),
        sdpa(heads=pb.HeadConfig(num_heads=1)),
        sdpa(outputs=pb.OutputSpec(log_sum_exp=True)),
        sdpa(value=None),
    ],
    ids=["causal", "lengths", "heads", "outputs", "value"],
)
def test_request_that_differs_in_anything_is_checked_for_itself(
    decoder: Decoder, other: pb.AttendRequest
) -> None:
    before = decoded(decoder, sdpa())

    after = decoded(decoder, other)

    assert after.request.mask is not before.request.mask
    assert decoded(decoder, sdpa()).form == before.form


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.INVALID_BYTE_LENGTH),
        (bytes(191), Reason.INVALID_BYTE_LENGTH),
        (b"\xff" * 192, Reason.NON_FINITE),
    ],
)
def test_data_is_looked_at_each_time(decoder: Decoder, data: bytes, reason: Reason) -> None:
    message = sdpa()
    decoded(decoder, message)
    message.query.data = data

    with pytest.raises(InvalidRequest) as refused:
        decoded(decoder, message)

    assert refused.value.reason is reason
    assert refused.value.violations[0].field.startswith("query")


@pytest.mark.parametrize(
    "damage",
    [lambda data: data + b"\x0a\x02\xff\xfe", lambda data: data + b"\x0a\x81\x01" + b"x" * 129],
    ids=["no text", "too long"],
)
def test_ids_are_looked_at_each_time(decoder: Decoder, damage: Any) -> None:
    message = sdpa(request_id="")
    decoded(decoder, message)

    with pytest.raises(RequestError):
        decoder.decode(damage(message.SerializeToString()))


def test_arrays_are_views_of_what_came_where_they_are_aligned(decoder: Decoder) -> None:
    bare, content = sdpa(key=None, value=None), np.ones((2, 3, 8), np.float32)
    bare.query.ClearField("data")
    shared = []
    for length in range(8, 12):
        bare.request_id = "x" * length
        data = spliced(bare.SerializeToString(), [(SPLICED, content)])
        decoder.decode(data)  # known from now on
        query: NDArray[Any] = decoder.decode(data).request.query
        assert query.flags.aligned
        assert np.array_equal(query, content)
        shared.append(np.shares_memory(query, np.frombuffer(data, np.uint8)))

    assert shared.count(True) == 1


def test_large_forms_are_not_kept(decoder: Decoder) -> None:
    many = sdpa(query=floats(65, 3, 8), key=floats(65, 4, 8), value=None)

    first, second = decoded(decoder, many).request, decoded(decoder, many).request

    assert first.mask is not second.mask


def test_what_was_right_within_other_limits_is_refused(stream_decoder: StreamDecoder) -> None:
    catalog = Catalog([SDPA])
    decoded(Decoder(catalog, LIMITS), sdpa())

    with pytest.raises(LimitExceeded):
        decoded(Decoder(catalog, Limits(1 << 26, 256, 2, 1 << 36, 1 << 30)), sdpa())


def test_a_known_request_on_a_stream_says_its_ids_and_its_time(
    stream_decoder: StreamDecoder,
) -> None:
    data = on_stream(sdpa(), timeout={"seconds": 3, "nanos": 5})
    assert stream_decoder.known(data) is None
    expected = stream_decoder.parse(data).decode()

    message = stream_decoder.known(data)

    assert message is not None
    assert (message.message.request_id, message.message.WhichOneof("part")) == ("7", "request")
    assert (message.message.timeout.seconds, message.message.timeout.nanos) == (3, 5)
    assert message.decode().form == expected.form


@pytest.mark.parametrize(
    "more",
    [
        pb.AttendStreamRequest(chunked=True),
        pb.AttendStreamRequest(chunk=pb.TensorChunk(field="query")),
        pb.AttendStreamRequest(cancel=pb.CancelRequest()),
        pb.AttendStreamRequest(request=pb.AttendRequest(model="other")),
        pb.AttendStreamRequest(request=pb.AttendRequest(query=pb.Tensor(data=b"1234"))),
    ],
    ids=["chunked", "a chunk", "a cancel", "another model", "other data"],
)
def test_what_is_more_than_a_known_request_is_not_known(
    stream_decoder: StreamDecoder, more: pb.AttendStreamRequest
) -> None:
    data = on_stream(sdpa())
    stream_decoder.parse(data).decode()
    assert stream_decoder.known(data) is not None

    assert stream_decoder.known(data + more.SerializeToString()) is None
