"""Attention modules as people write them, which export takes as they are."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DIMS", "HEADS", "OUTPUT_DIM", "Flexible", "Fused", "ShowsWeights"]


class Dims(TypedDict):
    """Widths of what a module takes, as ``export`` is told them."""

    query_dim: int
    key_dim: int
    value_dim: int


DIMS: Dims = {"query_dim": 12, "key_dim": 8, "value_dim": 6}
HEADS, OUTPUT_DIM = 4, 10
_KV_HEADS, _HEAD_DIM = 2, 5


class Fused(nn.Module):
    """Grouped heads through torch's fused attention, which shows no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(DIMS["query_dim"], HEADS * _HEAD_DIM, bias=False)
        self.key = nn.Linear(DIMS["key_dim"], _KV_HEADS * _HEAD_DIM)
        self.value = nn.Linear(DIMS["value_dim"], _KV_HEADS * _HEAD_DIM)
        self.out = nn.Linear(HEADS * _HEAD_DIM, OUTPUT_DIM)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor) -> Tensor:
        joined: Tensor = functional.scaled_dot_product_attention(
            _heads(self.query(query), HEADS),
            _heads(self.key(key), _KV_HEADS),
            _heads(self.value(value), _KV_HEADS),
            attn_mask=attend_mask,
            enable_gqa=True,
        )
        output: Tensor = self.out(joined.transpose(1, 2).flatten(2))
        return output


class ShowsWeights(nn.Module):
    """Softmax by hand, in one head's own temperature, with dropout in training."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(DIMS["query_dim"], HEADS * _HEAD_DIM)
        self.key = nn.Linear(DIMS["key_dim"], HEADS * _HEAD_DIM)
        self.value = nn.Linear(DIMS["value_dim"], HEADS * _HEAD_DIM)
        self.out = nn.Linear(HEADS * _HEAD_DIM, OUTPUT_DIM)
        self.temperature = nn.Parameter(torch.tensor(0.7))  # a single number
        self.dropout = nn.Dropout(0.5)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        query_heads = _heads(self.query(query), HEADS)
        scores = query_heads @ _heads(self.key(key), HEADS).transpose(-1, -2)
        scores = scores * self.temperature / math.sqrt(_HEAD_DIM)
        weights = scores.masked_fill(~attend_mask, -math.inf).softmax(-1)
        joined = self.dropout(weights) @ _heads(self.value(value), HEADS)
        return self.out(joined.transpose(1, 2).flatten(2)), weights


class Flexible(nn.Module):
    """torch.nn.MultiheadAttention behind the names and the mask of ours."""

    def __init__(self, *, average: bool = False) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(
            DIMS["query_dim"],
            HEADS,
            kdim=DIMS["key_dim"],
            vdim=DIMS["value_dim"],
            batch_first=True,
        )
        self.average = average

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        masked = (~attend_mask).expand(-1, HEADS, -1, -1).flatten(0, 1)
        result: tuple[Tensor, Tensor | None] = self.inner(
            query, key, value, attn_mask=masked, average_attn_weights=self.average
        )
        return result


def _heads(projected: Tensor, heads: int) -> Tensor:
    batch, length, _ = projected.shape
    return projected.view(batch, length, heads, -1).transpose(1, 2)
