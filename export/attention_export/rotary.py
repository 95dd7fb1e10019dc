"""Rotary positions: queries and keys are turned by their place before they meet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Rotary"]


class Rotary(nn.Module):
    """Turns pairs of numbers in each head by an angle that grows with the position.

    The first 2 n numbers of a head form n pairs (x_i, x_(n + i)); pair i of a head at position p
    is turned by p * inverse_frequencies[i] and what is left of the head passes as it is. The dot
    product of a query and a key then depends on the distance of the two alone. (Su et al. 2021,
    "RoFormer"; pairs of halves as in GPT-NeoX and Llama.)

    Args:
        inverse_frequencies: Angle of each pair at position 1, radians, float32 [n].
        factor: What cosines and sines are multiplied with ("attention factor").
    """

    inverse_frequencies: Tensor

    def __init__(self, inverse_frequencies: Tensor, *, factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("inverse_frequencies", inverse_frequencies)
        self.factor = factor

    @property
    def dim(self) -> int:
        """Numbers of a head that are turned."""
        return 2 * len(self.inverse_frequencies)

    def forward(self, heads: Tensor, positions: Tensor) -> Tensor:
        """Returns the heads turned.

        Args:
            heads: [batch, heads, length, head_dim].
            positions: Whole numbers [batch, length].
        """
        angles = positions.to(torch.float32)[..., None] * self.inverse_frequencies
        cosines = angles.cos() * self.factor  # [batch, length, n]
        sines = angles.sin() * self.factor
        if torch.onnx.is_in_onnx_export():
            turned: Tensor = torch.onnx.ops.rotary_embedding(
                heads,
                cosines,
                sines,
                rotary_embedding_dim=self.dim,
                num_heads=heads.shape[1],
            )
            return turned
        cosines, sines = (x[:, None].to(heads.dtype) for x in (cosines, sines))
        n = self.dim // 2
        first, second, rest = heads[..., :n], heads[..., n : 2 * n], heads[..., 2 * n :]
        return torch.cat(
            (first * cosines - second * sines, second * cosines + first * sines, rest), dim=-1
        )
