"""Multi-head attention as one plain module: it trains in eager PyTorch and exports to ONNX."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attention_export.relative_position_bias import RelativePositionBias
from attention_export.rotary import Rotary
from attention_service.manifest import Positions

__all__ = ["MultiHeadAttention"]

_SIZES = ("query_dim", "key_dim", "value_dim", "output_dim", "head_dim", "value_head_dim")


class MultiHeadAttention(nn.Module):
    """Attends from each query to all keys with several heads side by side.

    Each head h has its own W_Q, W_K and W_V, stacked in ``w_q``, ``w_k`` and ``w_v``:

        Q = query W_Q^T,  K = key W_K^T,  V = value W_V^T
        head_h = softmax(scale * Q_h K_h^T + mask) V_h
        output = concat(head_1 .. head_n) W_O^T

    (Vaswani et al. 2017, "Attention Is All You Need", section 3.2.) With fewer key and value
    heads than query heads, query head h uses key and value head h // (num_heads / num_kv_heads)
    (Ainslie et al. 2023, "GQA"). Where asked for, queries and keys are normed and then turned by
    their positions, and scores are bounded and then biased by the distance.

    Args:
        query_dim: Last dimension of the query.
        num_heads: Query heads.
        num_kv_heads: Key and value heads, a divisor of ``num_heads``; as ``num_heads`` if absent.
        key_dim: Last dimension of the key; as ``query_dim`` if absent.
        value_dim: Last dimension of the value; as ``key_dim`` if absent.
        output_dim: Last dimension of the output; as ``query_dim`` if absent.
        head_dim: Size of a query and key head; ``query_dim / num_heads`` if absent.
        value_head_dim: Size of a value head; as ``head_dim`` if absent.
        bias: Whether the four projections add a learned bias.
        scale: Factor on the dot products; ``1 / sqrt(head_dim)`` if absent.
        softcap: Bounds the scores to softcap * tanh(score / softcap), as Gemma 2 does; 0 for none.
        norm_eps: With it, each query and key head goes through a learned RMS norm with this
            epsilon (Zhang and Sennrich 2019, "Root Mean Square Layer Normalization").
        rotary: Turns the heads of queries and keys by their positions.
        position_bias: Biases the scores by the distance.

    Raises:
        ValueError: Sizes that do not fit together.
    """

    def __init__(
        self,
        query_dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        output_dim: int | None = None,
        head_dim: int | None = None,
        value_head_dim: int | None = None,
        bias: bool = True,
        scale: float | None = None,
        softcap: float = 0.0,
        norm_eps: float | None = None,
        rotary: Rotary | None = None,
        position_bias: RelativePositionBias | None = None,
    ) -> None:
        super().__init__()
        self.query_dim = query_dim
        self.key_dim = query_dim if key_dim is None else key_dim
        self.value_dim = self.key_dim if value_dim is None else value_dim
        self.output_dim = query_dim if output_dim is None else output_dim
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads < 1 or self.num_kv_heads < 1 or num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads ({self.num_kv_heads}) must be a divisor of num_heads ({num_heads})"
            )
        if head_dim is None and query_dim % num_heads:
            raise ValueError(
                f"query_dim ({query_dim}) must be a multiple of num_heads ({num_heads}), "
                "unless head_dim is given"
            )
        self.head_dim = query_dim // num_heads if head_dim is None else head_dim
        self.value_head_dim = self.head_dim if value_head_dim is None else value_head_dim
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        self.scale = 1.0 / math.sqrt(self.head_dim) if scale is None else float(scale)
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be finite, not {self.scale}")
        self.softcap = float(softcap)
        if not (math.isfinite(self.softcap) and self.softcap >= 0.0):
            raise ValueError(f"softcap must be 0 or more and finite, not {self.softcap}")
        if rotary is not None and position_bias is not None:
            raise ValueError("a layer rotates by position or biases by distance, not both")
        if rotary is not None and rotary.dim > self.head_dim:
            raise ValueError(
                f"rotary must turn at most head_dim ({self.head_dim}) numbers, not {rotary.dim}"
            )

        self.w_q = nn.Linear(self.query_dim, self.num_heads * self.head_dim, bias=bias)
        self.w_k = nn.Linear(self.key_dim, self.num_kv_heads * self.head_dim, bias=bias)
        self.w_v = nn.Linear(self.value_dim, self.num_kv_heads * self.value_head_dim, bias=bias)
        self.w_o = nn.Linear(self.num_heads * self.value_head_dim, self.output_dim, bias=bias)
        normed = norm_eps is not None
        self.query_norm = nn.RMSNorm(self.head_dim, eps=norm_eps) if normed else None
        self.key_norm = nn.RMSNorm(self.head_dim, eps=norm_eps) if normed else None
        self.rotary = rotary
        self.position_bias = position_bias

    @property
    def positions(self) -> Positions:
        """How positions are used."""
        if self.rotary is not None:
            return "rotary"
        return "none" if self.position_bias is None else "relative_bias"

    def forward(
        self,
        query: Tensor,  # [batch, query_len, query_dim]
        key: Tensor | None = None,  # [batch, kv_len, key_dim]
        value: Tensor | None = None,  # [batch, kv_len, value_dim]
        attend_mask: Tensor | None = None,  # bool, broadcasts to [batch, heads, query_len, kv_len]
        *,
        query_positions: Tensor | None = None,  # whole numbers [batch or 1, query_len]
        key_positions: Tensor | None = None,  # whole numbers [batch or 1, kv_len]
    ) -> tuple[Tensor, Tensor]:
        """Returns the output [batch, query_len, output_dim] and the weights.

        The weights are [batch, heads, query_len, kv_len]; every row sums to 1, or to 0 where the
        mask leaves nothing to attend to. An absent key is the query (self-attention), an absent
        value is the key. In ``attend_mask`` true means "may attend". Absent positions count from 0.
        """
        key = query if key is None else key
        value = key if value is None else value
        if query_positions is None:
            query_positions = torch.arange(query.shape[1], device=query.device)[None]
        if key_positions is None:
            key_positions = torch.arange(key.shape[1], device=key.device)[None]
        query_heads = self.project_query(query, query_positions)
        key_heads, value_heads = self.project_key_value(key, value, key_positions)
        bias = None
        if self.position_bias is not None:
            bias = self.position_bias(query_positions, key_positions)
        weights = self._weights(query_heads, key_heads, bias, attend_mask)
        head_outputs = weights @ self._for_each_query_head(value_heads)
        return self.combine(head_outputs), weights

    def project_query(self, query: Tensor, positions: Tensor | None = None) -> Tensor:
        """Returns the query's heads [batch, heads, query_len, head_dim], not yet scaled.

        Positions, whole numbers [batch or 1, query_len], are needed by a layer that rotates.
        """
        heads = _split(self.w_q(query), self.num_heads)
        return self._at(positions, heads if self.query_norm is None else self.query_norm(heads))

    def project_key_value(
        self, key: Tensor, value: Tensor, key_positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the heads of key and value.

        They are [batch, kv_heads, kv_len, head_dim] and [batch, kv_heads, kv_len, value_head_dim].
        Positions, whole numbers [batch or 1, kv_len], are needed by a layer that rotates.
        """
        heads = _split(self.w_k(key), self.num_kv_heads)
        heads = self._at(key_positions, heads if self.key_norm is None else self.key_norm(heads))
        return heads, _split(self.w_v(value), self.num_kv_heads)

    def combine(self, head_outputs: Tensor) -> Tensor:
        """Joins heads [batch, heads, query_len, value_head_dim] and projects them to the output."""
        joined = head_outputs.transpose(1, 2).flatten(
            2
        )  # [batch, query_len, heads * value_head_dim]
        output: Tensor = self.w_o(joined)
        return output

    def _at(self, positions: Tensor | None, heads: Tensor) -> Tensor:
        if self.rotary is None:
            return heads
        if positions is None:
            raise ValueError("a layer that rotates by position needs positions")
        turned: Tensor = self.rotary(heads, positions)
        return turned

    def _weights(
        self, query: Tensor, key: Tensor, bias: Tensor | None, attend_mask: Tensor | None
    ) -> Tensor:
        scores = (query * self.scale) @ self._for_each_query_head(key).transpose(-1, -2)
        if self.softcap:
            scores = self.softcap * (scores / self.softcap).tanh()
        if bias is not None:
            scores = scores + bias
        if attend_mask is None:
            return scores.softmax(-1)
        # The softmax of a row without keys is NaN; such a row has no weights.
        scores = scores.masked_fill(~attend_mask, -math.inf)
        nothing_in_sight = ~attend_mask.any(-1, keepdim=True)
        return scores.masked_fill(nothing_in_sight, 0.0).softmax(-1).masked_fill(~attend_mask, 0.0)

    def _for_each_query_head(self, heads: Tensor) -> Tensor:
        if self.num_kv_heads == self.num_heads:
            return heads
        return heads.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)


def _split(projected: Tensor, heads: int) -> Tensor:
    batch, length, _ = projected.shape
    return projected.reshape(batch, length, heads, -1).transpose(1, 2)  # [.., heads, length, size]
