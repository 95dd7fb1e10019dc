"""Weights in one byte each, to be read back within 1/510 of their row's largest."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bits", "floats", "quantised"]


def quantised(weights: NDArray[np.floating[Any]]) -> dict[str, str]:
    """Returns the weights of one head as text: a byte each and the largest of each row.

    A weight is its byte / 255 * the largest of its row. Against 1 rather than against the row's
    largest, most weights of a long row would be 0.

    Args:
        weights: Finite and not negative, [queries, keys].

    Returns:
        ``weights``, uint8 [queries, keys], and ``largest``, float32 [queries], both little-endian
        in base64.
    """
    rows = weights.astype(np.float64)
    largest = rows.max(axis=1).astype("<f4")
    # A row of zeros stays one, whatever it is divided by.
    codes = np.rint(rows * (255 / np.where(largest > 0, largest, 1).astype(np.float64))[:, None])
    return {"weights": _text(codes.astype(np.uint8)), "largest": floats(largest)}


def floats(values: NDArray[np.floating[Any]]) -> str:
    """Returns numbers as float32, little-endian, in base64."""
    return _text(values.astype("<f4"))


def bits(flags: NDArray[np.bool_]) -> str:
    """Returns flags as bits, the first in the lowest, in base64."""
    return _text(np.packbits(flags, bitorder="little"))


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
