"""Cases: how many tokens a layer sees, which of them are padding, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.parity.families.row import Layer

__all__ = ["Case", "cases"]

BoolArray = NDArray[np.bool_]
Int32Array = NDArray[np.int32]

FIRST_POSITION = 100


@dataclass(frozen=True)
class Case:
    """Sequences of one batch. In cross-attention, padding is that of the encoder's states."""

    name: str
    length: int = 7
    """Queries; in self-attention keys too, those of all steps together."""
    padding: tuple[int, ...] = (0, 0)
    """Keys of each sequence that are padding."""
    side: Literal["left", "right"] = "right"
    step: int | None = None
    """Tokens of the last step, which alone is looked at; those before come first, into a cache."""
    positions: Literal["default", "from 100", "with gaps"] = "default"

    def kv_len(self, layer: Layer) -> int:
        """Returns the number of keys, in cross-attention another than that of queries."""
        return self.length + 2 if layer.cross else self.length

    def key_mask(self, layer: Layer) -> BoolArray:
        """Returns which keys are no padding, bool [batch, kv_len]."""
        kv_len = self.kv_len(layer)
        columns = np.arange(kv_len)
        if self.side == "left":
            return columns >= np.array(self.padding)[:, None]
        return columns < kv_len - np.array(self.padding)[:, None]

    def key_positions(self, layer: Layer) -> Int32Array | None:
        """Returns where the keys stand, int32 [batch, kv_len]; None for 0, 1, 2, ..."""
        if layer.positions == "none":
            return None
        batch, columns = len(self.padding), np.arange(self.length, dtype=np.int32)
        positions: Int32Array | None = None
        if self.positions == "from 100":
            positions = np.tile(FIRST_POSITION + columns, (batch, 1))
        elif self.positions == "with gaps":  # rotation knows distances alone: these are no other's
            gaps = np.random.default_rng(0).integers(1, 5, (batch, self.length), dtype=np.int32)
            positions = FIRST_POSITION + gaps.cumsum(axis=1, dtype=np.int32)
        elif self.side == "left" and layer.positions == "rotary":  # the first token stands at 0
            positions = np.maximum(columns - np.array(self.padding, np.int32)[:, None], 0)
        return positions

    def keywords(self, layer: Layer) -> dict[str, Any]:
        """Returns padding and positions as ``attend`` takes them, and nothing else."""
        given: dict[str, Any] = {}
        if any(self.padding):
            mask = self.key_mask(layer)
            given = {"key_mask": mask} if self.side == "left" else {"kv_lengths": mask.sum(axis=1)}
        positions = self.key_positions(layer)
        if positions is None:
            return given
        queries = positions[:, -(self.step or self.length) :]
        return {**given, "query_positions": queries, "key_positions": positions}


def cases(layer: Layer) -> Iterator[Case]:
    """Yields the cases that a layer of this kind must stand."""
    left = (0, 3, 5)
    yield Case("one", length=1, padding=(0,))
    yield Case("several")
    yield Case("many", length=21)  # further than windows and than the reach of relative biases
    yield Case("right padding", padding=(0, 3, 6))
    yield Case("left padding", padding=left, side="left")
    if layer.positions == "rotary":
        yield Case("positions with gaps", positions="with gaps")
    if layer.positions == "relative_bias":  # transformers has no other
        yield Case("positions from 100", length=21, positions="from 100")
    if layer.decodes:
        yield Case("next token", step=1)
        yield Case("next tokens", step=3)
        yield Case("next token after many", length=21, step=1)
        yield Case("next token, left padding", padding=left, side="left", step=1)
        if layer.positions == "rotary":
            yield Case("next token, positions with gaps", positions="with gaps", step=1)
        if layer.positions == "relative_bias":
            yield Case("next token, positions from 100", positions="from 100", step=1)
