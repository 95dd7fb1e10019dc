"""Relative positions: scores are biased by how far a key is from the query, head by head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RelativePositionBias"]


class RelativePositionBias(nn.Module):
    """A learned number for each head and distance, added to the score.

    The distance is key position - query position; distances beyond ``reach`` count as ``reach``.
    (Shaw et al. 2018, "Self-Attention with Relative Position Representations", with a number in
    place of a vector, as in T5.)

    Args:
        num_heads: Query heads.
        reach: Largest distance with a number of its own.
    """

    def __init__(self, num_heads: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * reach + 1))  # from -reach to reach

    def forward(
        self, query_positions: Tensor, key_positions: Tensor, heads: Tensor | None = None
    ) -> Tensor:
        """Returns the biases [batch, heads, query_len, kv_len].

        Args:
            query_positions: Whole numbers from 0 to 2^31 - 1, [batch, query_len].
            key_positions: Whole numbers from 0 to 2^31 - 1, [batch, kv_len].
            heads: The heads to return, int64, in this order; all if absent.
        """
        # In int32, [batch, query_len, kv_len]: the difference of positions from 0 on fits, and
        # ONNX Runtime 1.31 clips int64 by its lower 32 bits on some processors.
        distances = key_positions[:, None, :].int() - query_positions[:, :, None].int()
        places = distances.clamp(-self.reach, self.reach) + self.reach
        table = self.table if heads is None else self.table.index_select(0, heads)
        biases = table.index_select(1, places.flatten())  # [heads, batch * query_len * kv_len]
        return biases.reshape(-1, *places.shape).transpose(0, 1)
