"""A strategy for requests, of which many are right and many are wrong in one field."""

from __future__ import annotations

from hypothesis import strategies as st

from attention_service.v1 import attention_pb2 as pb
from tests.contract.fuzz.right_requests import right_requests
from tests.messages import floats

_INF, _NAN = float("inf"), float("nan")
_HUGE = (-(2**63), -(2**31), -1, 0, 1, 5, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1)
_UNSIGNED = (1, 3, 4, 5, 2**31, 2**32 - 1)
_ENUMS = (-(2**31), -1, 0, 4, 5, 6, 99, 2**31 - 1)
_NAMES = ("", "..", "../sdpa", "sdpa\0", "SDPA", "nobody", "a" * 65, "注意", "sdpa", "layer")
_VERSIONS = ("0", "01", "-1", "1.0", "１", "../1", "3", "9" * 18, "9" * 19)
_BITS = (b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x00\x7c\x00\x7c")


def _tensor(draw: st.DrawFn, request: pb.AttendRequest) -> pb.Tensor:
    """Draws one of the tensors that a request has."""
    mask = request.mask
    there = [request.query]
    there += [getattr(request, name) for name in ("key", "value") if request.HasField(name)]
    there += [
        getattr(mask, name)
        for name in ("key_mask", "attend_mask", "attn_bias")
        if request.HasField("mask") and mask.HasField(name)
    ]
    return draw(st.sampled_from(there))


def _another_dimension(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    shape = _tensor(draw, request).shape
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = draw(st.sampled_from([shape[axis] + 1, shape[axis] - 1, *_HUGE]))


def _another_rank(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    shape = _tensor(draw, request).shape
    if draw(st.booleans()):
        shape.insert(0, 1)
    else:
        del shape[0]


def _another_length(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    tensor = _tensor(draw, request)
    tensor.data = draw(
        st.sampled_from([b"", tensor.data[1:], tensor.data + b"\0", tensor.data * 2])
    )


def _another_type(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    number = draw(st.sampled_from([*_ENUMS, 1, 2, 3]))
    _tensor(draw, request).data_type = number  # type: ignore[assignment]


def _not_finite(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    tensor = _tensor(draw, request)
    place = draw(st.integers(0, len(tensor.data) // 4)) * 4
    data = tensor.data[:place] + draw(st.sampled_from(_BITS)) + tensor.data[place + 4 :]
    tensor.data = data[: len(tensor.data)]


def _another_list(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    name = draw(st.sampled_from(["kv_lengths", "query_lengths", "query_offsets"]))
    lengths = getattr(request.mask, name)
    lengths.append(draw(st.sampled_from(_HUGE)))
    if draw(st.booleans()):
        del lengths[0]


def _another_selection(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    lists = [request.heads.ablated_heads]
    if request.HasField("outputs"):
        for part in ("weights", "scores"):
            if request.outputs.HasField(part):
                chosen = getattr(request.outputs, part)
                lists += [chosen.heads, chosen.query_indices]
    draw(st.sampled_from(lists)).append(draw(st.sampled_from(_UNSIGNED)))


def _other_heads(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    name = draw(st.sampled_from(["num_heads", "num_kv_heads"]))
    setattr(request.heads, name, draw(st.sampled_from([0, *_UNSIGNED])))


def _another_scale(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    name = draw(st.sampled_from(["scale", "softcap"]))
    setattr(request.heads, name, draw(st.sampled_from([_NAN, _INF, -_INF, -1.0, 1e-45, 3e38])))


def _another_enum(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    number = draw(st.sampled_from(_ENUMS))
    if draw(st.booleans()):
        request.mask.causal = number  # type: ignore[assignment]
    else:
        request.outputs.data_type = number  # type: ignore[assignment]


def _another_name(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    if draw(st.booleans()):
        request.model = draw(st.sampled_from(_NAMES))
    else:
        request.model_version = draw(st.sampled_from(_VERSIONS))


def _a_field_absent(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    request.ClearField(draw(st.sampled_from(["query", "key", "value", "heads", "model"])))


def _a_field_too_many(draw: st.DrawFn, request: pb.AttendRequest) -> None:
    if draw(st.booleans()):
        request.query_positions.CopyFrom(floats(1))
    else:
        request.request_id = "x" * draw(st.sampled_from([128, 129]))


_WRONGS = (
    _another_dimension,
    _another_rank,
    _another_length,
    _another_type,
    _not_finite,
    _another_list,
    _another_selection,
    _other_heads,
    _another_scale,
    _another_enum,
    _another_name,
    _a_field_absent,
    _a_field_too_many,
)


@st.composite
def requests(draw: st.DrawFn) -> pb.AttendRequest:
    """Draws right requests, every other one wrong in one field, or nearly."""
    request = draw(right_requests())
    if draw(st.booleans()):
        draw(st.sampled_from(_WRONGS))(draw, request)
    return request
