"""The model around the attention layer, needed for training alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_client.explore.characters import sinusoids
from attention_export.module import MultiHeadAttention

__all__ = ["CharacterModel"]

WIDTH, HEADS, HEAD_DIM = 256, 4, 32


class CharacterModel(nn.Module):
    """Predicts characters from one attention layer's output.

    The residual path already tells each position its own character, so a head gains by looking
    elsewhere; both tasks share the layer and have a predictor each.
    """

    def __init__(self, vocabulary_size: int, longest: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, WIDTH)
        self.attention = MultiHeadAttention(WIDTH, HEADS, head_dim=HEAD_DIM)
        self.next_character = _Predictor(vocabulary_size)
        self.masked_character = _Predictor(vocabulary_size)
        self.positions: Tensor
        self.register_buffer("positions", torch.from_numpy(sinusoids(longest, WIDTH)))

    def forward(
        self,
        ids: Tensor,  # int64 [batch, length]
        lengths: Tensor,  # int64 [batch]
        targets: Tensor,  # bool [batch, length]: where to predict
        *,
        causal: bool,
    ) -> Tensor:
        """Returns logits [targets, vocabulary]: the next character if causal, else this one."""
        length = ids.shape[1]
        embedded = nn.functional.embedding(ids, self.table()) + self.positions[:length]
        may_attend = torch.arange(length) < lengths[:, None, None, None]  # [batch, 1, 1, kv_len]
        if causal:
            may_attend = may_attend & torch.ones(length, length, dtype=torch.bool).tril()
        attended, _ = self.attention(embedded, attend_mask=may_attend)
        predictor = self.next_character if causal else self.masked_character
        logits: Tensor = predictor((embedded + attended)[targets])
        return logits

    def table(self) -> Tensor:
        """Returns the embedding table [vocabulary, width], each row normalized."""
        return nn.functional.layer_norm(self.embedding.weight, (WIDTH,))


class _Predictor(nn.Sequential):
    """Feed-forward network and output head."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.GELU(),
            nn.Linear(3 * WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, vocabulary_size),
        )
