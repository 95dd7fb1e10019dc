"""What an answer shall hold, checked against what the model can give."""

from __future__ import annotations

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.request import Outputs, Rows, Sizes, WeightRows
from attention_server.edge import fields
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["decode_data_type", "decode_outputs", "item_bytes"]

_ITEM_BYTES = {
    pb.DATA_TYPE_FLOAT32: 4,
    pb.DATA_TYPE_FLOAT16: 2,
    pb.DATA_TYPE_BFLOAT16: 2,
}


def decode_outputs(
    spec: pb.OutputSpec, model: Model, settings: AttentionSettings, sizes: Sizes, limits: Limits
) -> Outputs:
    """Returns the parts that are asked for.

    Raises:
        InvalidRequest: Heads or queries that are not there, or a part that the model cannot give.
    """
    weights, scores = None, None
    if spec.HasField("weights"):
        path = "outputs.weights"
        weights = WeightRows(
            heads=fields.indices(spec.weights.heads, f"{path}.heads", settings.num_heads, limits),
            query_indices=fields.indices(
                spec.weights.query_indices, f"{path}.query_indices", sizes.query_len, limits
            ),
            average_heads=spec.weights.average_heads,
            top_k=min(spec.weights.top_k, sizes.kv_len),
        )
    if spec.HasField("scores"):
        path = "outputs.scores"
        scores = Rows(
            heads=fields.indices(spec.scores.heads, f"{path}.heads", settings.num_heads, limits),
            query_indices=fields.indices(
                spec.scores.query_indices, f"{path}.query_indices", sizes.query_len, limits
            ),
        )
    outputs = Outputs(
        output=not spec.omit_output,
        weights=weights,
        scores=scores,
        projections=spec.projections,
        head_outputs=spec.head_outputs,
        log_sum_exp=spec.log_sum_exp,
    )
    for name, wanted in vars(outputs).items():
        if wanted and name not in model.outputs:
            field = "outputs.omit_output" if name == "output" else f"outputs.{name}"
            raise InvalidRequest.of(
                Reason.OUTPUT_NOT_SUPPORTED,
                field,
                f"this model gives only {', '.join(model.outputs)}",
            )
    return outputs


def decode_data_type(spec: pb.OutputSpec) -> pb.DataType.ValueType:
    """Returns the element type of the answer's floating-point tensors.

    Raises:
        InvalidRequest: Not a floating-point type.
    """
    if spec.data_type == pb.DATA_TYPE_UNSPECIFIED:
        return pb.DATA_TYPE_FLOAT32
    if spec.data_type not in _ITEM_BYTES:
        raise InvalidRequest.of(
            Reason.INVALID_DATA_TYPE,
            "outputs.data_type",
            "must be FLOAT32, FLOAT16, BFLOAT16 or unspecified",
        )
    return spec.data_type


def item_bytes(data_type: pb.DataType.ValueType) -> int:
    """Returns the size of an element of the answer's floating-point tensors."""
    return _ITEM_BYTES[data_type]
