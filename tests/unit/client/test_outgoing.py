"""A request on its way says to any reader of protobuf what the same request says as one message."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_client import AttendCall
from attention_client._outgoing import Outgoing
from attention_client._request import request_of
from attention_service.v1 import attention_pb2 as pb

_QUERY = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
_SIZES = st.sampled_from([1, 2, 5, 42, 43])  # of 3 * 42 bytes and up a length takes a byte more
_FLOATS = st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16, np.dtype(">f4"), np.float64])
_MASKS: dict[str, st.SearchStrategy[Any]] = {
    "key_mask": st.sampled_from([np.ones((1, 1), np.bool_), np.eye(4, dtype=np.bool_)[:, ::2]]),
    "attend_mask": st.sampled_from([np.zeros((0, 2), np.bool_), np.eye(7, dtype=np.bool_)]),
    "attn_bias": st.sampled_from([np.float32(0.5)[None, None], np.full((3, 4), -np.inf)]),
    "query_positions": st.just(np.arange(6)[None, ::2]),
    "key_positions": st.just([[7, 0]]),
    "causal": st.sampled_from(["none", "lower_right"]),
    "kv_lengths": st.lists(st.integers(0, 9), min_size=1),
    "num_heads": st.integers(1, 300),
    "weights": st.booleans(),
}


def _over_a_stream(request: Outgoing, *, chunk_bytes: int = 0) -> pb.AttendRequest:
    """Returns what a server reads of the request: of one message, or put together of pieces."""
    if not chunk_bytes:
        (head, *rest) = [request.whole("7", 2.5)]
    else:
        (head, *rest) = request.pieces("7", 2.5, chunk_bytes)
    read = pb.AttendStreamRequest.FromString(head)
    assert (read.request_id, read.chunked) == ("7", bool(chunk_bytes))
    assert read.timeout.ToTimedelta().total_seconds() == 2.5
    for piece in map(pb.AttendStreamRequest.FromString, rest):
        assert piece.request_id == "7"
        *masks, name = piece.chunk.field.split(".")
        holder: Any = read.request.mask if masks else read.request
        getattr(holder, name).data += piece.chunk.data
    return read.request


@given(
    arrays=st.tuples(_SIZES, _FLOATS, st.booleans()),
    others=st.lists(st.sampled_from(["key", "value"]), unique=True),
    masks=st.fixed_dictionaries({}, optional=_MASKS),
    chunk_bytes=st.sampled_from([0, 7, 100]),
)
def test_a_stream_carries_the_request_that_a_message_is(
    arrays: tuple[int, Any, bool], others: list[str], masks: dict[str, Any], chunk_bytes: int
) -> None:
    length, dtype, transposed = arrays
    array = np.arange(3 * length).astype(dtype).reshape(1, length, 3)
    array = array.transpose(0, 2, 1) if transposed else array
    keywords: dict[str, Any] = dict.fromkeys(others, array[:, ::-1]) | masks
    request = request_of(AttendCall("m", array, **keywords, request_id="mine"))

    expected = request.message()
    assert expected.request_id == "mine"
    expected.request_id = ""  # the stream's says it

    assert _over_a_stream(request, chunk_bytes=chunk_bytes) == expected


@pytest.mark.parametrize("size", [2**14 - 1, 2**14, 2**21])
def test_large_arrays_are_carried_too(size: int) -> None:
    request = request_of(AttendCall("m", np.arange(size, dtype=np.float16)[None, None]))

    assert _over_a_stream(request) == request.message()


def test_a_request_may_be_sent_again_in_any_form() -> None:
    request = request_of(AttendCall("m", _QUERY))
    message, whole, pieces = (
        request.message(),
        request.whole("1", 1.0),
        list(request.pieces("1", 1.0, 8)),
    )

    assert request.whole("1", 1.0) == whole
    assert list(request.pieces("1", 1.0, 8)) == pieces
    assert request.message() == message


def test_requests_of_one_form_have_one_frame() -> None:
    def frame(**keywords: Any) -> bytes:
        return request_of(AttendCall("m", **keywords)).frame

    plain = frame(query=_QUERY)

    assert frame(query=-_QUERY, request_id="mine", timeout=3.0) == plain
    others: list[dict[str, Any]] = [
        {"query": _QUERY[:1]},
        {"query": _QUERY.astype(np.float16)},
        {"query": _QUERY, "key": _QUERY},
        {"query": _QUERY, "num_heads": 2},
    ]
    assert plain not in [frame(**keywords) for keywords in others]
