"""One layer as ONNX graphs: whole, and in the stages between which attention itself stands."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attention_export.attention_operator import attention_operator_with_weights
from attention_export.module import MultiHeadAttention
from attention_export.to_onnx import TensorSpec, to_onnx
from attention_service.manifest import MODEL_FILE, POSITION_BIAS_FILE, STAGE_FILES

__all__ = ["file_names", "layer_graph"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES

# All different, so that tracing takes no dimension for another.
_SIZES = {
    "batch": 2,
    "query_len": 3,
    "kv_len": 4,
    "mask_batch": 5,
    "mask_heads": 6,
    "position_batch": 7,
    "selected": 8,
}


class _Stage(nn.Module):
    """One step of a layer, as a module of its own."""

    def __init__(self, layer: MultiHeadAttention) -> None:
        super().__init__()
        self.layer = layer


class _Whole(_Stage):
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attend_mask: Tensor,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        layer = self.layer
        query_heads = layer.project_query(query, query_positions)
        key_heads, value_heads = layer.project_key_value(key, value, key_positions)
        mask = attend_mask
        if layer.position_bias is not None:
            mask = _where(attend_mask, layer.position_bias(query_positions, key_positions))
        head_outputs, weights = attention_operator_with_weights(
            query_heads, key_heads, value_heads, mask, scale=layer.scale, softcap=layer.softcap
        )
        return layer.combine(head_outputs), weights


class _ProjectQuery(_Stage):
    def forward(self, query: Tensor, query_positions: Tensor | None = None) -> Tensor:
        return self.layer.project_query(query, query_positions)


class _ProjectKeyValue(_Stage):
    def forward(
        self, key: Tensor, value: Tensor, key_positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.layer.project_key_value(key, value, key_positions)


class _PositionBias(_Stage):
    def forward(self, query_positions: Tensor, key_positions: Tensor, heads: Tensor) -> Tensor:
        assert self.layer.position_bias is not None, "file_names() names this stage only then"
        bias: Tensor = self.layer.position_bias(query_positions, key_positions, heads)
        return bias


class _Combine(_Stage):
    def forward(self, head_outputs: Tensor) -> Tensor:
        return self.layer.combine(head_outputs)


def _where(attend_mask: Tensor, bias: Tensor) -> Tensor:
    """Returns the bias, -inf where the mask is false; broadcasts as ONNX does, not as torch."""
    forbidden = torch.tensor(-math.inf)
    return torch.onnx.ops.symbolic(
        "Where", (attend_mask, bias, forbidden), dtype=bias.dtype, shape=bias.shape, version=16
    )


def file_names(layer: MultiHeadAttention) -> tuple[str, ...]:
    """Returns the names of the graphs that a layer has."""
    bias = () if layer.position_bias is None else (POSITION_BIAS_FILE,)
    return (MODEL_FILE, *STAGE_FILES, *bias)


def layer_graph(layer: MultiHeadAttention, file_name: str) -> bytes:
    """Returns one of a layer's ``file_names`` as a serialized ONNX model.

    Inputs and outputs are those that ``attention_service.manifest`` lists. ``attend_mask`` is bool
    [batch or 1, heads or 1, query_len, kv_len]; positions are int32; the heads of queries and keys
    are normed and turned, not scaled.

    Args:
        layer: A float32 layer on the CPU, in evaluation mode.
        file_name: The graph asked for.
    """
    heads, kv_heads = layer.num_heads, layer.num_kv_heads
    query = {"query": TensorSpec(("batch", "query_len", layer.query_dim))}
    key_value = {
        "key": TensorSpec(("batch", "kv_len", layer.key_dim)),
        "value": TensorSpec(("batch", "kv_len", layer.value_dim)),
    }
    attend_mask = TensorSpec(("mask_batch", "mask_heads", "query_len", "kv_len"), torch.bool)
    query_positions, key_positions = _positions("batch")
    rotary = layer.positions == "rotary"
    heads_of_query = TensorSpec(("batch", heads, "query_len", layer.head_dim))
    heads_of_key_value = {
        "key_heads": TensorSpec(("batch", kv_heads, "kv_len", layer.head_dim)),
        "value_heads": TensorSpec(("batch", kv_heads, "kv_len", layer.value_head_dim)),
    }
    head_outputs = TensorSpec(("batch", heads, "query_len", layer.value_head_dim))
    weights = TensorSpec(("batch", heads, "query_len", "kv_len"))
    output = {"output": TensorSpec(("batch", "query_len", layer.output_dim))}
    shared_query_positions, shared_key_positions = _positions("position_batch")
    graphs: dict[str, tuple[type[_Stage], dict[str, TensorSpec], dict[str, TensorSpec]]] = {
        MODEL_FILE: (
            _Whole,
            {**query, **key_value, "attend_mask": attend_mask}
            | ({} if layer.positions == "none" else query_positions | key_positions),
            {**output, "weights": weights},
        ),
        _PROJECT_QUERY: (
            _ProjectQuery,
            query | (query_positions if rotary else {}),
            {"query_heads": heads_of_query},
        ),
        _PROJECT_KEY_VALUE: (
            _ProjectKeyValue,
            key_value | (key_positions if rotary else {}),
            heads_of_key_value,
        ),
        POSITION_BIAS_FILE: (
            _PositionBias,
            {
                **shared_query_positions,
                **shared_key_positions,
                "heads": TensorSpec(("selected",), torch.int64),
            },
            {"position_bias": TensorSpec(("position_batch", "selected", "query_len", "kv_len"))},
        ),
        _COMBINE: (_Combine, {"head_outputs": head_outputs}, output),
    }
    stage, inputs, outputs = graphs[file_name]
    return to_onnx(stage(layer).eval(), inputs=inputs, outputs=outputs, sizes=_SIZES)


def _positions(batch: str) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    return (
        {"query_positions": TensorSpec((batch, "query_len"), torch.int32)},
        {"key_positions": TensorSpec((batch, "kv_len"), torch.int32)},
    )
