"""Results and models as messages."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.request import AttendResult, Execution
from attention_server.edge.decode import AnswerForm
from attention_server.edge.decode_heads import CAUSAL_MODES
from attention_service import tensor
from attention_service.manifest import Positions
from attention_service.v1 import attention_pb2 as pb

__all__ = ["encode_model", "encode_result", "fill_response", "narrow"]

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
_OWN_TYPES: dict[str, pb.DataType.ValueType] = {
    "weight_key_indices": pb.DATA_TYPE_INT32,
    "log_sum_exp": pb.DATA_TYPE_FLOAT32,
}


def encode_result(result: AttendResult, form: AnswerForm) -> pb.AttendResponse:
    """Returns the answer to a request, its floats in the type that was asked for."""
    response = pb.AttendResponse()
    fill_response(response, result, form)
    return response


def fill_response(
    response: pb.AttendResponse,
    result: AttendResult,
    form: AnswerForm,
    announced: Container[str] = (),
) -> None:
    """Puts the answer to a request into an empty message, where it stands.

    Args:
        response: The message.
        result: What was computed.
        form: How it is told.
        announced: Tensors of which only element type and shape are put in.
    """
    response.request_id = form.request_id
    response.model, response.model_version = form.model
    response.fully_masked_rows = result.fully_masked_rows
    _fill_execution(response.execution, result.execution)
    response.applied.MergeFromString(_serialized_settings(form.settings))
    for name, array in result.tensors().items():
        message = getattr(response, name)
        if name in announced:
            message.data_type = _OWN_TYPES.get(name, form.data_type)
            message.shape.extend(array.shape)
        else:
            tensor.fill(message, narrow(array, name, form))


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


@lru_cache(maxsize=1024)
def _serialized_settings(settings: AttentionSettings) -> bytes:
    return _encode_settings(settings).SerializeToString()


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


def _fill_execution(message: pb.Execution, execution: Execution) -> None:
    message.provider, message.path = execution.provider, execution.path
    message.batched_requests = execution.batched_requests
    message.queue_us, message.compute_us = execution.queue_us, execution.compute_us
