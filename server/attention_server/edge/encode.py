"""Results and models as messages."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from attention_server.domain.model import AttentionSettings, Model, ModelKey
from attention_server.domain.request import AttendResult, Execution
from attention_server.edge.decode_heads import CAUSAL_MODES
from attention_service.head_analysis import HeadAnalysis
from attention_service.head_patterns import HeadPattern
from attention_service.manifest import Positions
from attention_service.spliced import BytesField, spliced
from attention_service.v1 import attention_pb2 as pb

__all__ = [
    "ANSWER_TENSORS",
    "Answer",
    "AnswerForm",
    "encode_analysis",
    "encode_head",
    "encode_model",
    "encode_result",
    "encode_small",
    "narrow",
]

_DTYPES: dict[pb.DataType.ValueType, np.dtype[Any]] = {
    pb.DATA_TYPE_FLOAT32: np.dtype(np.float32),
    pb.DATA_TYPE_FLOAT16: np.dtype(np.float16),
    pb.DATA_TYPE_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
_MODES = {name: mode for mode, name in CAUSAL_MODES.items()}
_OUTPUTS = {
    "output": pb.OUTPUT_OUTPUT,
    "weights": pb.OUTPUT_WEIGHTS,
    "scores": pb.OUTPUT_SCORES,
    "projections": pb.OUTPUT_PROJECTIONS,
    "head_outputs": pb.OUTPUT_HEAD_OUTPUTS,
    "log_sum_exp": pb.OUTPUT_LOG_SUM_EXP,
}
_POSITION_USES: dict[Positions, pb.PositionUse.ValueType] = {
    "none": pb.POSITION_USE_UNSPECIFIED,
    "rotary": pb.POSITION_USE_ROTARY,
    "relative_bias": pb.POSITION_USE_RELATIVE_BIAS,
}
_PATTERNS: dict[HeadPattern, pb.HeadPattern.ValueType] = {
    "none": pb.HEAD_PATTERN_UNSPECIFIED,
    "self": pb.HEAD_PATTERN_SELF,
    "previous": pb.HEAD_PATTERN_PREVIOUS,
    "next": pb.HEAD_PATTERN_NEXT,
    "first": pb.HEAD_PATTERN_FIRST,
    "local": pb.HEAD_PATTERN_LOCAL,
    "global": pb.HEAD_PATTERN_GLOBAL,
    "relation": pb.HEAD_PATTERN_RELATION,
}
_OWN_TYPES: dict[str, pb.DataType.ValueType] = {
    "weight_key_indices": pb.DATA_TYPE_INT32,
    "log_sum_exp": pb.DATA_TYPE_FLOAT32,
}
ANSWER_TENSORS = tuple(
    field.name
    for field in pb.AttendResponse.DESCRIPTOR.fields
    if field.message_type is pb.Tensor.DESCRIPTOR
)
"""Names of all tensors that an answer may have."""

_DATA = {name: BytesField(pb.AttendResponse, f"{name}.data") for name in ANSWER_TENSORS}


class AnswerForm(NamedTuple):
    """What an answer is made with, beside the result."""

    request_id: str
    head: bytes
    """An AttendResponse: what is the same for all requests of a form."""
    data_type: pb.DataType.ValueType
    """Element type of its floating-point tensors."""
    tensor_bytes: int
    """Size of its tensors."""


class Answer(NamedTuple):
    """An answer whose tensors are still to be put into its message."""

    message: bytes
    """An AttendResponse."""
    tensors: dict[str, NDArray[Any]]
    """Its tensors, by name, in the types that were asked for."""


def encode_result(result: AttendResult, form: AnswerForm) -> bytes:
    """Returns the answer to a request, its floats in the type that was asked for."""
    message, tensors = encode_small(result, form)
    return spliced(message, [(_DATA[name], array) for name, array in tensors.items()])


def encode_small(result: AttendResult, form: AnswerForm, announced: Container[str] = ()) -> Answer:
    """Returns the answer to a request, its tensors beside it.

    Args:
        result: What was computed.
        form: How it is told.
        announced: Tensors that are not among those, as their data will follow in chunks.
    """
    message = pb.AttendResponse(
        request_id=form.request_id, fully_masked_rows=result.fully_masked_rows
    )
    _fill_execution(message.execution, result.execution)
    tensors = {}
    for name, array in result.tensors().items():
        told = getattr(message, name)
        told.data_type = _OWN_TYPES.get(name, form.data_type)
        told.shape.extend(array.shape)
        if name not in announced:
            tensors[name] = narrow(array, name, form)
    return Answer(form.head + message.SerializeToString(), tensors)


def encode_head(model: ModelKey, settings: AttentionSettings) -> bytes:
    """Returns what answers say of the model and the settings, as an AttendResponse."""
    name, version = model
    return pb.AttendResponse(
        model=name, model_version=version, applied=_encode_settings(settings)
    ).SerializeToString()


def encode_analysis(result: AttendResult, form: AnswerForm) -> bytes:
    """Returns the answer to a request for an analysis."""
    assert result.head_analysis is not None, "an analysis was asked for"
    told = pb.AttendResponse.FromString(form.head)
    response = pb.AnalyzeHeadsResponse(
        request_id=form.request_id,
        model=told.model,
        model_version=told.model_version,
        heads=[_encode_head(head) for head in result.head_analysis],
        fully_masked_rows=result.fully_masked_rows,
        applied=told.applied,
    )
    _fill_execution(response.execution, result.execution)
    return response.SerializeToString()


def narrow(array: NDArray[Any], name: str, form: AnswerForm) -> NDArray[Any]:
    """Returns an answer's tensor, or a piece of it, in the type that was asked for."""
    if name in _OWN_TYPES or form.data_type == pb.DATA_TYPE_FLOAT32:  # as it was computed
        return array
    with np.errstate(over="ignore"):  # what does not fit becomes infinity, as the contract says
        return array.astype(_DTYPES[form.data_type], copy=False)


def encode_model(model: Model) -> pb.Model:
    """Returns a model's description."""
    return pb.Model(
        name=model.key.name,
        version=model.key.version,
        query_dim=model.query_dim,
        key_dim=model.key_dim,
        value_dim=model.value_dim,
        output_dim=model.output_dim,
        head_dim=model.head_dim,
        value_head_dim=model.value_head_dim,
        defaults=_encode_settings(model.defaults),
        positions=_POSITION_USES[model.positions],
        outputs=[_OUTPUTS[name] for name in model.outputs],
        source=model.source,
    )


def _encode_settings(settings: AttentionSettings) -> pb.AttentionSettings:
    left, right = settings.window
    unlimited = left is None and right is None
    return pb.AttentionSettings(
        num_heads=settings.num_heads,
        num_kv_heads=settings.num_kv_heads,
        scale=settings.scale,
        softcap=settings.softcap,
        causal=_MODES[settings.causal],
        window=None if unlimited else pb.SlidingWindow(left=left, right=right),
    )


def _encode_head(analysis: HeadAnalysis) -> pb.HeadAnalysis:
    return pb.HeadAnalysis(**{**vars(analysis), "pattern": _PATTERNS[analysis.pattern]})


def _fill_execution(message: pb.Execution, execution: Execution) -> None:
    message.provider, message.path = execution.provider, execution.path
    message.batched_requests = execution.batched_requests
    message.queue_us, message.compute_us = execution.queue_us, execution.compute_us
