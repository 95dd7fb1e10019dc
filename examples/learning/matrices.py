"""What the learned matrices say by themselves, without any text.

The matrices of two layers are multiplied along the two ways that an answer depends on, from one
character to another (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .model import TwoLayers

__all__ = ["Matrices", "matrices", "own_first"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Matrices:
    """Products of learned matrices, a row and a column each character: [characters, characters]."""

    looked_for: Floats
    """What a character, as a query, adds to the score of a key that stands after each character."""
    answered: Floats
    """What a character that is found adds to the score of each answer."""


@torch.no_grad()
def matrices(model: TwoLayers) -> Matrices:
    """Returns what the second layer looks for, and what it answers with what it finds."""
    first, second = model.first, model.second
    x = model.character.weight  # [characters, width]
    handed_over = first.w_o(first.w_v(x))  # by the first layer, to the place that looked at x
    scores = second.w_q(x) @ second.w_k(handed_over).T * second.scale
    answers = second.w_o(second.w_v(x)) @ model.answer.weight.T
    return Matrices(scores.numpy(), answers.numpy())


def own_first(products: Floats) -> int:
    """Returns how many characters come first in their own row of [characters, characters]."""
    return int((products.argmax(1) == np.arange(len(products))).sum())
