"""Results and models as messages."""

from __future__ import annotations

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

__all__ = ["encode_model", "encode_result"]

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
_KEEP_THEIR_TYPE = ("weight_key_indices", "log_sum_exp")


def encode_result(result: AttendResult, form: AnswerForm) -> pb.AttendResponse:
    """Returns the answer to a request, its floats in the type that was asked for."""
    response = pb.AttendResponse(
        request_id=form.request_id,
        model=form.model.name,
        model_version=form.model.version,
        fully_masked_rows=result.fully_masked_rows,
        execution=_encode_execution(result.execution),
        applied=_encode_settings(form.settings),
    )
    dtype = _DTYPES[form.data_type]
    for name, array in result.tensors().items():
        narrowed = array if name in _KEEP_THEIR_TYPE else _narrow(array, dtype)
        tensor.fill(getattr(response, name), narrowed)
    return response


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


def _encode_execution(execution: Execution) -> pb.Execution:
    return pb.Execution(
        provider=execution.provider,
        path=execution.path,
        batched_requests=execution.batched_requests,
        queue_us=execution.queue_us,
        compute_us=execution.compute_us,
    )


def _narrow(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # what does not fit becomes infinity, as the contract says
        return array.astype(dtype, copy=False)
