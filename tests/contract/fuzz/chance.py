"""Chance that a seed repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


class Chance:
    """Draws; the same seed draws the same."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def below(self, end: int) -> int:
        """Returns 0 .. end - 1."""
        return int(self._generator.integers(end))

    def place(self, data: Sequence[object]) -> int:
        """Returns a place in a sequence, its end included."""
        return self.below(len(data) + 1)

    def one_of(self, choices: Sequence[_T]) -> _T:
        """Returns one of these."""
        return choices[self.below(len(choices))]

    def bytes(self, most: int) -> bytes:
        """Returns 1 to this many bytes."""
        return self._generator.bytes(1 + self.below(most))
