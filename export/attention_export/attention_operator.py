"""ONNX's Attention operator, as modules call it while torch traces them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from attention_export.to_onnx import OPSET

__all__ = ["attention_operator", "attention_operator_with_weights"]

# What torch takes for the attributes of an operator.
Attribute: TypeAlias = (
    "int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]"
)
_WEIGHTS = 3  # qk_matmul_output_mode: the product after softmax


def attention_operator(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scale: float
) -> Tensor:
    """Returns the head outputs [batch, heads, query_len, value_head_dim] of one Attention node.

    Outside of an export it computes nothing: the results are zeros.

    Args:
        query: [batch, heads, query_len, head_dim].
        key: [batch, kv_heads, kv_len, head_dim].
        value: [batch, kv_heads, kv_len, value_head_dim].
        mask: Bool, true where a query may attend, or float, added to the scores:
            [batch or 1, heads or 1, query_len, kv_len].
        scale: Factor on the dot products.
    """
    return torch.onnx.ops.symbolic(
        "Attention",
        _inputs(query, key, value, mask),
        {"scale": scale},
        dtype=query.dtype,
        shape=(*query.shape[:3], value.shape[3]),
        version=OPSET,
    )


def attention_operator_with_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    softcap: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Returns the head outputs and the weights [batch, heads, query_len, kv_len].

    ``softcap`` bounds the scores before the mask; 0 for none.
    """
    attributes: dict[str, Attribute] = {"scale": scale, "qk_matmul_output_mode": _WEIGHTS}
    if softcap:
        attributes["softcap"] = softcap
    # The second and third results are a key-value cache, unused.
    head_outputs, _, _, weights = torch.onnx.ops.symbolic_multi_out(
        "Attention",
        _inputs(query, key, value, mask),
        attributes,
        dtypes=[query.dtype] * 4,
        shapes=[
            (*query.shape[:3], value.shape[3]),
            key.shape,
            value.shape,
            (*query.shape[:3], key.shape[2]),
        ],
        version=OPSET,
    )
    return head_outputs, weights


def _inputs(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> list[Tensor]:
    return [query, key, value] if mask is None else [query, key, value, mask]
