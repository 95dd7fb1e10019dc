"""The model: two attention layers, each the very module that the exporter ships."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_export.module import MultiHeadAttention

from .texts import CHARACTERS

__all__ = ["LONGEST", "TwoLayers"]

WIDTH = 64  # numbers that stand for a character
HEAD_DIM = 32  # numbers of a query, a key and a value
LONGEST = 32  # places that have an embedding


class TwoLayers(nn.Module):
    """Answers at every place of a text; one head a layer, so that each can be read."""

    def __init__(self) -> None:
        super().__init__()
        # 1. Embeddings. A character becomes a row of numbers, and so does its place. They start
        #    random, like every matrix here: at first no number means anything.
        self.character = nn.Embedding(len(CHARACTERS), WIDTH)
        self.place = nn.Embedding(LONGEST, WIDTH)
        for table in (self.character, self.place):
            nn.init.normal_(table.weight, std=0.5**0.5)  # their sum has variance 1
        # 2. Attention. Each layer holds W_Q, W_K, W_V and W_O, without biases:
        #        Q = x W_Q^T   what each place looks for
        #        K = x W_K^T   what each place can be found by
        #        V = x W_V^T   what each place hands over
        #        weights = softmax(Q K^T / sqrt(head_dim)),  output = weights V W_O^T
        self.first = MultiHeadAttention(WIDTH, 1, head_dim=HEAD_DIM, bias=False)
        self.second = MultiHeadAttention(WIDTH, 1, head_dim=HEAD_DIM, bias=False)
        # 3. An answer: a score for each character.
        self.answer = nn.Linear(WIDTH, len(CHARACTERS))

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns answers and the weights of both layers, of ids int64 [batch, length].

        Answers are scores [batch, length, characters], weights [batch, 1, length, length].
        """
        length = ids.shape[1]
        already_read = torch.ones(length, length, dtype=torch.bool).tril()  # the causal mask
        x = self.character(ids) + self.place.weight[:length]  # [batch, length, width]
        handed_over, first_weights = self.first(x, attend_mask=already_read)
        # What the first layer finds is added to what a place knows, so that the second layer's
        # queries, keys and values can be made of both.
        x = x + handed_over
        # The answer sees nothing but what the second layer's head brings: it must look.
        found, second_weights = self.second(x, attend_mask=already_read)
        return self.answer(found), first_weights, second_weights
