"""Layers that use positions, and what else stands between projections and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attention_export import MultiHeadAttention
from attention_export.relative_position_bias import RelativePositionBias
from attention_export.rotary import Rotary

__all__ = ["BIASED", "HEADS", "LAYERS", "ROTATED", "CosineAttention", "drawn", "rotary"]

HEADS, HEAD_DIM = 4, 6


def drawn(**more: Any) -> MultiHeadAttention:
    """Returns a layer in which every parameter matters, norms and biases included."""
    layer = MultiHeadAttention(10, HEADS, head_dim=HEAD_DIM, num_kv_heads=2, **more).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator))
    return layer


def rotary(pairs: int, **more: Any) -> Rotary:
    return Rotary(1.0 / 50.0 ** (torch.arange(pairs) / pairs), **more)


ROTATED = "rotated in part, normed, capped"
BIASED = "biased by distance"
LAYERS: Mapping[str, Callable[[], MultiHeadAttention]] = {
    "rotated": lambda: drawn(rotary=rotary(3)),
    ROTATED: lambda: drawn(
        # Numbers that float32 has: the module's are float64, those of its graphs are not.
        rotary=rotary(2, factor=1.25),
        norm_eps=2.0**-20,
        softcap=2.0,
    ),
    BIASED: lambda: drawn(position_bias=RelativePositionBias(HEADS, reach=5)),
}


class CosineAttention(nn.Module):
    """A layer of another kind, which no stages fit: its scores are cosines of queries and keys."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns output and weights; both are 0 where the mask leaves nothing to attend to."""
        cosines = nn.functional.normalize(self.norm(query), dim=-1) @ nn.functional.normalize(
            key, dim=-1
        ).transpose(-1, -2)
        seen = attend_mask.any(-1, keepdim=True)  # [batch, 1, query_len, 1]
        scores = (8.0 * cosines[:, None]).masked_fill(seen & ~attend_mask, -torch.inf)
        weights = scores.softmax(-1).masked_fill(~seen, 0.0)
        output = self.output((weights @ value[:, None])[:, 0])
        return output.masked_fill(~seen[:, 0], 0.0), weights
