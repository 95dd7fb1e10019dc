"""The keywords of ``attend`` as a request of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attention_client import _arrays, _numbers
from attention_client._names import CAUSAL_MODES, FLOAT_TYPES, FloatType
from attention_client._outgoing import Outgoing
from attention_client._refusal import refusal
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_service.reasons import Reason
from attention_service.tensor import announce
from attention_service.v1 import attention_pb2 as pb

if TYPE_CHECKING:
    from attention_client._attend import AttendCall
    from attention_client._attention import AttentionKeywords

_ValueT = TypeVar("_ValueT")
_ResultT = TypeVar("_ResultT")
_SpecT = TypeVar("_SpecT", WeightsSpec, ScoresSpec)

_ARRAY_RULES: tuple[tuple[str, Callable[[str, Any], NDArray[Any]]], ...] = (
    ("query", _arrays.embeddings),
    ("key", _arrays.embeddings),
    ("value", _arrays.embeddings),
    ("key_mask", _arrays.mask),
    ("attend_mask", _arrays.mask),
    ("attn_bias", _arrays.bias),
    ("query_positions", _arrays.positions),
    ("key_positions", _arrays.positions),
)
_MOST_ID_BYTES = 128
_MASKS = ("key_mask", "attend_mask", "attn_bias")


def request_of(call: AttendCall) -> Outgoing:
    """Returns the request that asks for what the call says.

    Raises:
        InvalidRequestError: A keyword that cannot be meant.
    """
    outgoing = attention_of(call)
    outputs = _outputs(call, query_len=outgoing.arrays["query"].shape[1])
    if outputs is not None:
        outgoing.request.outputs.MergeFrom(outputs)
    return outgoing


def attention_of(call: AttentionKeywords) -> Outgoing:
    """Returns the request for this attention that names no outputs.

    Raises:
        InvalidRequestError: A keyword that cannot be meant.
    """
    arrays = _arrays_of(call)
    request = pb.AttendRequest(model=_numbers.text("model", call.model))
    if call.version is not None:
        request.model_version = _numbers.version("version", call.version)
    # A part that says nothing is left out: to build, send and read it takes time.
    if (mask := _mask(call)) is not None:
        request.mask.MergeFrom(mask)
    if (heads := _heads(call)) is not None:
        request.heads.MergeFrom(heads)
    sent = {}
    for name, array in arrays.items():
        is_mask = name in _MASKS
        announce(getattr(request.mask if is_mask else request, name), array)
        sent[f"mask.{name}" if is_mask else name] = array
    return Outgoing(
        request,
        _request_id("request_id", call.request_id),
        sent,
        nbytes=sum(array.nbytes for array in sent.values()),
    )


def _request_id(argument: str, value: object) -> str:
    """Returns the request's name; empty where absent."""
    name = _numbers.text(argument, value)
    if len(name.encode()) > _MOST_ID_BYTES:
        raise refusal(argument, f"must have at most {_MOST_ID_BYTES} bytes", Reason.INVALID_NAME)
    return name


def _arrays_of(call: AttentionKeywords) -> dict[str, NDArray[Any]]:
    """Returns the arrays that are given, by name, of the types that travel."""
    if call.query is None:
        raise refusal("query", "must be given", Reason.MISSING_FIELD)
    arrays = {}
    for name, rule in _ARRAY_RULES:
        value = getattr(call, name)
        if value is not None:
            arrays[name] = rule(name, value)
    return arrays


def _mask(call: AttentionKeywords) -> pb.Mask | None:
    """Returns who may attend to whom, tensors aside; None for the model's own."""
    lengths = (call.kv_lengths, call.query_lengths, call.query_offsets)
    if call.causal is None and call.window is None and all(given is None for given in lengths):
        return None
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


def _heads(call: AttentionKeywords) -> pb.HeadConfig | None:
    """Returns how heads are configured; None for the model's own."""
    given = (call.num_heads, call.num_kv_heads, call.scale, call.softcap, call.ablated_heads)
    if all(value is None for value in given):
        return None
    return pb.HeadConfig(
        num_heads=_if_given(_numbers.whole, "num_heads", call.num_heads) or 0,
        num_kv_heads=_if_given(_numbers.whole, "num_kv_heads", call.num_kv_heads) or 0,
        scale=_if_given(_numbers.real, "scale", call.scale),
        softcap=_if_given(_numbers.real, "softcap", call.softcap),
        ablated_heads=_if_given(_numbers.indices, "ablated_heads", call.ablated_heads),
    )


def _outputs(call: AttendCall, *, query_len: int) -> pb.OutputSpec | None:
    """Returns what to return; None for the output alone, in float32."""
    asked = (call.weights, call.scores, call.projections, call.head_outputs, call.log_sum_exp)
    if call.output is True and call.dtype == "float32" and all(ask is False for ask in asked):
        return None
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
