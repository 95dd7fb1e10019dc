"""A layer's weights in the float64 reference: what its exported graphs are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from attention_export.module import MultiHeadAttention
from attention_service.reference import attention, combine_heads, split_heads

__all__ = ["Float64Layer"]

Float64Array = NDArray[np.float64]


class Float64Layer:
    """Computes what a layer should, every intermediate by the name it has in the graphs."""

    def __init__(self, layer: MultiHeadAttention) -> None:
        self._heads = layer.num_heads
        self._kv_heads = layer.num_kv_heads
        self._scale = layer.scale
        self._query = _Projection(layer.w_q)
        self._key = _Projection(layer.w_k)
        self._value = _Projection(layer.w_v)
        self._output = _Projection(layer.w_o)

    def run(
        self, query: ArrayLike, key: ArrayLike, value: ArrayLike, attend_mask: ArrayLike
    ) -> Mapping[str, Float64Array]:
        """Returns query_heads, key_heads, value_heads, scores, weights, head_outputs and output.

        Args:
            query: [batch, query_len, query_dim].
            key: [batch, kv_len, key_dim].
            value: [batch, kv_len, value_dim].
            attend_mask: Bool [batch or 1, heads or 1, query_len, kv_len].
        """
        query_heads = split_heads(self._query(query), self._heads)
        key_heads = split_heads(self._key(key), self._kv_heads)
        value_heads = split_heads(self._value(value), self._kv_heads)
        computed = attention(
            query_heads, key_heads, value_heads, scale=self._scale, allowed=attend_mask
        )
        return {
            "query_heads": query_heads,
            "key_heads": key_heads,
            "value_heads": value_heads,
            "scores": computed.scores,
            "weights": computed.weights,
            "head_outputs": computed.head_outputs,
            "output": self._output(combine_heads(computed.head_outputs)),
        }


class _Projection:
    """x W^T + b, an absent b being 0."""

    def __init__(self, linear: nn.Linear) -> None:
        parameters = {
            name: parameter.detach().double().numpy()
            for name, parameter in linear.named_parameters()
        }
        self._weight: Float64Array = parameters["weight"]
        self._bias: Float64Array | float = parameters.get("bias", 0.0)

    def __call__(self, x: ArrayLike) -> Float64Array:
        projected: Float64Array = np.asarray(x, np.float64) @ self._weight.T + self._bias
        return projected
