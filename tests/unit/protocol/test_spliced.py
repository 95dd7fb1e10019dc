"""What is spliced together is what protobuf would have written."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_service import tensor
from attention_service.spliced import BytesField, spliced
from attention_service.v1 import attention_pb2 as pb

_OF_REQUEST = (
    *("query", "key", "value", "query_positions", "key_positions"),
    *("mask.key_mask", "mask.attend_mask", "mask.attn_bias"),
)
_OF_RESPONSE = (
    *("output", "weights", "weight_key_indices", "scores", "log_sum_exp"),
    *("query_heads", "key_heads", "value_heads", "head_outputs"),
)
_TENSORS: list[tuple[type[Message], tuple[str, ...]]] = [
    (pb.AttendRequest, _OF_REQUEST),
    (pb.AttendStreamRequest, tuple(f"request.{path}" for path in _OF_REQUEST)),
    (pb.AttendResponse, _OF_RESPONSE),
    (pb.AttendStreamResponse, tuple(f"response.{path}" for path in _OF_RESPONSE)),
]
_SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([127, 128, 16383, 16384, 2097151, 2097152]),  # where a length takes a byte more
)


def _at(message: Message, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name)
    return message


@given(st.data())
def test_is_the_same_message(data: st.DataObject) -> None:
    message_type, paths = data.draw(st.sampled_from(_TENSORS))
    sizes = data.draw(st.dictionaries(st.sampled_from(paths), _SIZES, max_size=3))
    named = message_type(request_id=data.draw(st.text(max_size=3)))
    expected, empty = message_type.FromString(named.SerializeToString()), named
    contents = {}
    for number, (path, size) in enumerate(sizes.items()):
        contents[path] = np.full(size, number, np.uint8)
        _at(expected, path).shape.extend([size])
        _at(empty, path).shape.extend([size])
        _at(expected, path).data = contents[path].tobytes()

    whole = spliced(
        empty.SerializeToString(),
        [(BytesField(message_type, f"{path}.data"), array) for path, array in contents.items()],
    )

    assert message_type.FromString(whole) == expected


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(3, 2).T,
        np.arange(6, dtype=">f4"),
        np.arange(12, dtype=np.int32)[::2],
        np.array([True, False]),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1.5, -2], np.float16),
    ],
    ids=["plain", "by columns", "big-endian", "strided", "bool", "bfloat16", "float16"],
)
def test_arrays_are_spliced_in_as_their_data_travels(array: NDArray[Any]) -> None:
    whole = spliced(b"", [(BytesField(pb.AttendRequest, "query.data"), array)])

    assert pb.AttendRequest.FromString(whole).query.data == tensor.encode(array).data


def test_a_chunk_is_spliced_in_as_its_bytes() -> None:
    chunk = pb.AttendStreamRequest(request_id="7", chunk=pb.TensorChunk(field="query"))

    whole = spliced(
        chunk.SerializeToString(), [(BytesField(pb.AttendStreamRequest, "chunk.data"), b"piece")]
    )

    chunk.chunk.data = b"piece"
    assert pb.AttendStreamRequest.FromString(whole) == chunk
