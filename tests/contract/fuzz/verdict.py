"""What may come of a request, whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from attention_service import tensor
from attention_service.reasons import DOMAIN, Reason
from attention_service.v1 import attention_pb2 as pb
from tests.wire import Refusal

ANSWERED = "answered"

_INVALID, _NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
_REFUSALS: Mapping[str, frozenset[grpc.StatusCode]] = {
    "Attend": frozenset({_INVALID, _NOT_FOUND}),
    "ListModels": frozenset({_INVALID}),
    "GetModel": frozenset({_INVALID, _NOT_FOUND}),
    "GetServerInfo": frozenset({_INVALID}),
    "AnalyzeHeads": frozenset({_INVALID, _NOT_FOUND}),
}
_CODES_ON_STREAM = frozenset(
    code.value[0]
    for code in (
        _INVALID,
        _NOT_FOUND,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,  # too many wait for chunks
    )
)
_ANSWERS: Mapping[str, type[Message]] = {
    "Attend": pb.AttendResponse,
    "AnalyzeHeads": pb.AnalyzeHeadsResponse,
    "ListModels": pb.ListModelsResponse,
    "GetModel": pb.GetModelResponse,
    "GetServerInfo": pb.GetServerInfoResponse,
}
_HALVES = (pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_BFLOAT16)


def finding(rpc: str, call: Any) -> str:
    """Returns what is wrong with how a call ended; nothing where all is well."""
    try:
        answer = call.result()
    except grpc.RpcError as error:
        return _wrong_refusal(rpc, Refusal.of(error))
    message = _ANSWERS[rpc].FromString(answer)
    if isinstance(message, pb.AnalyzeHeadsResponse):
        return _figures_not_finite(message)
    return not_finite(message) if isinstance(message, pb.AttendResponse) else ""


def finding_on_stream(answer: pb.AttendStreamResponse) -> str:
    """Returns what is wrong with an answer on a stream; nothing where all is well."""
    if answer.WhichOneof("part") != "error":
        return not_finite(answer.response) if answer.HasField("response") else "no answer"
    if answer.error.code not in _CODES_ON_STREAM:
        return f"{answer.error.code}: {answer.error.message}"
    return "" if answer.error.reason in list(Reason) else f"no reason: {answer.error.reason}"


def outcome(call: Any) -> str:
    """Returns ANSWERED, or the reason of the refusal."""
    try:
        call.result()
    except grpc.RpcError as error:
        return Refusal.of(error).reason
    return ANSWERED


def not_finite(answer: pb.AttendResponse) -> str:
    """Returns which tensors hold what they must not: NaN, or infinity where it means nothing."""
    wrong = []
    for field, value in answer.ListFields():
        if isinstance(value, pb.Tensor):
            array = tensor.decode(value)
            allowed = np.isfinite(array)
            if value.data_type in _HALVES:
                allowed |= np.isinf(array)  # the contract: what does not fit becomes infinity
            elif field.name == "log_sum_exp":
                allowed |= array == -np.inf
            if not allowed.all():
                wrong.append(field.name)
    return f"not finite: {', '.join(wrong)}" if wrong else ""


def _figures_not_finite(answer: pb.AnalyzeHeadsResponse) -> str:
    """Returns which figures of heads are none."""
    figures = {
        field.name: value
        for head in answer.heads
        for field, value in head.ListFields()
        if isinstance(value, float)
    }
    wrong = [name for name, value in figures.items() if not np.isfinite(value)]
    return f"not finite: {', '.join(wrong)}" if wrong else ""


def _wrong_refusal(rpc: str, refusal: Refusal) -> str:
    if refusal.code not in _REFUSALS[rpc]:
        return f"{refusal.code.name}: {refusal.message}"
    if refusal.reason not in list(Reason) or refusal.domain != DOMAIN:
        return f"no reason that is known: {refusal.domain}/{refusal.reason}"
    return ""
