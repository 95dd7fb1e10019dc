"""A layer's weights in the float64 reference: what its exported graphs are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from attention_export.module import MultiHeadAttention
from attention_export.verification_cases import Case
from attention_service.reference import (
    attention,
    combine_heads,
    relative_bias,
    rms_norm,
    rotate,
    split_heads,
)

__all__ = ["Float64Layer"]

FloatArray = NDArray[np.floating[Any]]
Float64Array = NDArray[np.float64]


class Float64Layer:
    """Computes what a layer should, every intermediate by the name it has in the graphs."""

    def __init__(self, layer: MultiHeadAttention) -> None:
        self._layer = layer
        self._query = _Projection(layer.w_q)
        self._key = _Projection(layer.w_k)
        self._value = _Projection(layer.w_v)
        self._output = _Projection(layer.w_o)

    def run(self, case: Case) -> Mapping[str, Float64Array]:
        """Returns what ``compute`` does, of a case."""
        return self.compute(
            case.query,
            case.key,
            case.value,
            case.attend_mask,
            case.query_positions,
            case.key_positions,
        )

    def compute(
        self,
        query: FloatArray,
        key: FloatArray,
        value: FloatArray,
        attend_mask: ArrayLike,
        query_positions: ArrayLike | None = None,
        key_positions: ArrayLike | None = None,
    ) -> Mapping[str, Float64Array]:
        """Returns query_heads, key_heads, value_heads, scores, weights, head_outputs and output.

        Of a layer that biases by distance, also position_bias.

        Args:
            query: [batch, query_len, query_dim].
            key: [batch, kv_len, key_dim].
            value: [batch, kv_len, value_dim].
            attend_mask: Bool [batch or 1, heads or 1, query_len, kv_len].
            query_positions: Whole numbers [batch or 1, query_len]; from 0 on if absent.
            key_positions: Whole numbers [batch or 1, kv_len]; from 0 on if absent.
        """
        layer = self._layer
        if query_positions is None:
            query_positions = np.arange(query.shape[1])[None]
        if key_positions is None:
            key_positions = np.arange(key.shape[1])[None]
        query_heads = split_heads(self._query(query), layer.num_heads)
        query_heads = self._at(query_positions, self._normed(layer.query_norm, query_heads))
        key_heads = split_heads(self._key(key), layer.num_kv_heads)
        key_heads = self._at(key_positions, self._normed(layer.key_norm, key_heads))
        value_heads = split_heads(self._value(value), layer.num_kv_heads)
        biases = {}
        if layer.position_bias is not None:
            table = layer.position_bias.table.detach().numpy()
            biases["position_bias"] = relative_bias(table, query_positions, key_positions)
        computed = attention(
            query_heads,
            key_heads,
            value_heads,
            scale=layer.scale,
            softcap=layer.softcap,
            attn_bias=biases.get("position_bias"),
            allowed=attend_mask,
        )
        return {
            "query_heads": query_heads,
            "key_heads": key_heads,
            "value_heads": value_heads,
            **biases,
            "scores": computed.scores,
            "weights": computed.weights,
            "head_outputs": computed.head_outputs,
            "output": self._output(combine_heads(computed.head_outputs)),
        }

    def _normed(self, norm: nn.RMSNorm | None, heads: Float64Array) -> Float64Array:
        if norm is None:
            return heads
        assert norm.eps is not None, "MultiHeadAttention gives its norms an epsilon"
        return rms_norm(heads, norm.weight.detach().numpy(), eps=norm.eps)

    def _at(self, positions: ArrayLike, heads: Float64Array) -> Float64Array:
        rotary = self._layer.rotary
        if rotary is None:
            return heads
        frequencies = rotary.inverse_frequencies.numpy()
        return rotate(heads, positions, frequencies, factor=rotary.factor)


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
