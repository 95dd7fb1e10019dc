"""One layer as ONNX graphs: whole, and in the stages between which attention itself stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_export.attention_operator import attention_operator_with_weights
from attention_export.module import MultiHeadAttention
from attention_export.to_onnx import TensorSpec, to_onnx
from attention_service.manifest import MODEL_FILE, STAGE_FILES

__all__ = ["FILE_NAMES", "layer_graph"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
FILE_NAMES = (MODEL_FILE, *STAGE_FILES)

# All different, so that tracing takes no dimension for another.
_SIZES = {"batch": 2, "query_len": 3, "kv_len": 4, "mask_batch": 5, "mask_heads": 6}


class _Stage(nn.Module):
    """One step of a layer, as a module of its own."""

    def __init__(self, layer: MultiHeadAttention) -> None:
        super().__init__()
        self.layer = layer


class _Whole(_Stage):
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        query_heads = self.layer.project_query(query)
        key_heads, value_heads = self.layer.project_key_value(key, value)
        head_outputs, weights = attention_operator_with_weights(
            query_heads, key_heads, value_heads, attend_mask, scale=self.layer.scale
        )
        return self.layer.combine(head_outputs), weights


class _ProjectQuery(_Stage):
    def forward(self, query: Tensor) -> Tensor:
        return self.layer.project_query(query)


class _ProjectKeyValue(_Stage):
    def forward(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer.project_key_value(key, value)


class _Combine(_Stage):
    def forward(self, head_outputs: Tensor) -> Tensor:
        return self.layer.combine(head_outputs)


def layer_graph(layer: MultiHeadAttention, file_name: str) -> bytes:
    """Returns one of ``FILE_NAMES`` as a serialized ONNX model.

    ``model.onnx``: query, key, value and attend_mask, bool [batch or 1, heads or 1, query_len,
    kv_len] -> output, weights. ``project_query.onnx``: query -> query_heads, unscaled.
    ``project_key_value.onnx``: key, value -> key_heads, value_heads. ``combine.onnx``:
    head_outputs -> output.

    Args:
        layer: A float32 layer on the CPU, in evaluation mode.
        file_name: The graph asked for.
    """
    heads, kv_heads = layer.num_heads, layer.num_kv_heads
    query = TensorSpec(("batch", "query_len", layer.query_dim))
    key = TensorSpec(("batch", "kv_len", layer.key_dim))
    value = TensorSpec(("batch", "kv_len", layer.value_dim))
    attend_mask = TensorSpec(("mask_batch", "mask_heads", "query_len", "kv_len"), torch.bool)
    query_heads = TensorSpec(("batch", heads, "query_len", layer.head_dim))
    key_heads = TensorSpec(("batch", kv_heads, "kv_len", layer.head_dim))
    value_heads = TensorSpec(("batch", kv_heads, "kv_len", layer.value_head_dim))
    head_outputs = TensorSpec(("batch", heads, "query_len", layer.value_head_dim))
    weights = TensorSpec(("batch", heads, "query_len", "kv_len"))
    output = TensorSpec(("batch", "query_len", layer.output_dim))
    graphs: dict[str, tuple[type[_Stage], dict[str, TensorSpec], dict[str, TensorSpec]]] = {
        MODEL_FILE: (
            _Whole,
            {"query": query, "key": key, "value": value, "attend_mask": attend_mask},
            {"output": output, "weights": weights},
        ),
        _PROJECT_QUERY: (_ProjectQuery, {"query": query}, {"query_heads": query_heads}),
        _PROJECT_KEY_VALUE: (
            _ProjectKeyValue,
            {"key": key, "value": value},
            {"key_heads": key_heads, "value_heads": value_heads},
        ),
        _COMBINE: (_Combine, {"head_outputs": head_outputs}, {"output": output}),
    }
    stage, inputs, outputs = graphs[file_name]
    return to_onnx(stage(layer).eval(), inputs=inputs, outputs=outputs, sizes=_SIZES)
