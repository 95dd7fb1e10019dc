"""The keywords of ``attend`` as the contract's message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attention_client import _arrays, _numbers
from attention_client._names import CAUSAL_MODES, FLOAT_TYPES, FloatType
from attention_client._refusal import refusal
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_client.errors import RequestTooLargeError
from attention_service.reasons import Reason
from attention_service.tensor import fill
from attention_service.v1 import attention_pb2 as pb

if TYPE_CHECKING:
    from attention_client._attend import AttendCall

_ValueT = TypeVar("_ValueT")
_ResultT = TypeVar("_ResultT")
_SpecT = TypeVar("_SpecT", WeightsSpec, ScoresSpec)

_ARRAY_RULES: Mapping[str, Callable[[str, Any], NDArray[Any]]] = MappingProxyType(
    {
        "query": _arrays.embeddings,
        "key": _arrays.embeddings,
        "value": _arrays.embeddings,
        "key_mask": _arrays.mask,
        "attend_mask": _arrays.mask,
        "attn_bias": _arrays.bias,
        "query_positions": _arrays.positions,
        "key_positions": _arrays.positions,
    }
)
_MASKS = ("key_mask", "attend_mask", "attn_bias")

_MOST_TENSOR_BYTES = 2**31 - 2**20
"""What protobuf can write, whatever the server's limit, with room for all but the tensors."""


def request_of(call: AttendCall) -> pb.AttendRequest:
    """Returns the message that asks for what the call says.

    Raises:
        InvalidRequestError: A keyword that cannot be meant.
        RequestTooLargeError: More than any message holds.
    """
    arrays = _arrays_of(call)
    size = sum(array.nbytes for array in arrays.values())
    if size > _MOST_TENSOR_BYTES:
        raise RequestTooLargeError(
            f"the arrays have {size} bytes, but a message holds less than 2 GiB: "
            "send fewer sequences at once",
            reason=Reason.MESSAGE_LIMIT,
        )
    request = pb.AttendRequest(
        request_id=_numbers.text("request_id", call.request_id),
        model=_numbers.text("model", call.model),
        model_version=_numbers.version("version", call.version),
        mask=_mask(call),
        heads=_heads(call),
        outputs=_outputs(call, query_len=arrays["query"].shape[1]),
    )
    for name, array in arrays.items():
        fill(getattr(request.mask if name in _MASKS else request, name), array)
    return request


def _arrays_of(call: AttendCall) -> dict[str, NDArray[Any]]:
    """Returns the arrays that are given, by name, of the types that travel."""
    if call.query is None:
        raise refusal("query", "must be given", Reason.MISSING_FIELD)
    given = ((name, rule, getattr(call, name)) for name, rule in _ARRAY_RULES.items())
    return {name: rule(name, value) for name, rule, value in given if value is not None}


def _mask(call: AttendCall) -> pb.Mask:
    causal = pb.CAUSAL_MODE_UNSPECIFIED
    if call.causal is not None:
        causal = CAUSAL_MODES[_numbers.one_of("causal", call.causal, CAUSAL_MODES)]
    return pb.Mask(
        kv_lengths=_numbers.one_a_sequence("kv_lengths", call.kv_lengths),
        query_lengths=_numbers.one_a_sequence("query_lengths", call.query_lengths),
        query_offsets=_numbers.one_a_sequence("query_offsets", call.query_offsets),
        causal=causal,
        window=_if_given(_window, "window", call.window),
    )


def _window(argument: str, window: object) -> pb.SlidingWindow:
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise refusal(
            argument, f"must be a pair (left, right), not {window!r}", Reason.INVALID_COUNT
        )
    left, right = window
    return pb.SlidingWindow(
        left=_if_given(_numbers.whole, f"{argument}[0]", left),
        right=_if_given(_numbers.whole, f"{argument}[1]", right),
    )


def _heads(call: AttendCall) -> pb.HeadConfig:
    return pb.HeadConfig(
        num_heads=_if_given(_numbers.whole, "num_heads", call.num_heads) or 0,
        num_kv_heads=_if_given(_numbers.whole, "num_kv_heads", call.num_kv_heads) or 0,
        scale=_if_given(_numbers.real, "scale", call.scale),
        softcap=_if_given(_numbers.real, "softcap", call.softcap),
        ablated_heads=_if_given(_numbers.indices, "ablated_heads", call.ablated_heads),
    )


def _outputs(call: AttendCall, *, query_len: int) -> pb.OutputSpec:
    weights = _selection("weights", call.weights, WeightsSpec)
    scores = _selection("scores", call.scores, ScoresSpec)
    return pb.OutputSpec(
        omit_output=not _numbers.flag("output", call.output),
        weights=None if weights is None else weights.message(query_len),
        scores=None if scores is None else scores.message(query_len),
        projections=_numbers.flag("projections", call.projections),
        head_outputs=_numbers.flag("head_outputs", call.head_outputs),
        log_sum_exp=_numbers.flag("log_sum_exp", call.log_sum_exp),
        data_type=FLOAT_TYPES[_float_type("dtype", call.dtype)],
    )


def _selection(argument: str, value: bool | _SpecT, kind: type[_SpecT]) -> _SpecT | None:
    """Returns which to return; None for none."""
    if isinstance(value, kind):
        return value
    return kind() if _numbers.flag(argument, value, f"a {kind.__name__}") else None


def _float_type(argument: str, dtype: FloatType) -> str:
    name: object = dtype
    if not isinstance(dtype, str):
        with contextlib.suppress(TypeError):  # no dtype at all: refused below as what it is
            name = np.dtype(dtype).name
    return _numbers.one_of(argument, name, FLOAT_TYPES)


def _if_given(
    rule: Callable[[str, _ValueT], _ResultT], argument: str, value: _ValueT | None
) -> _ResultT | None:
    return None if value is None else rule(argument, value)
