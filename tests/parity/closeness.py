"""How close float32 comes to float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client import AttendResult
from tests.parity.cases import Expected

TOLERANCE = 3e-6
"""Largest error of a tensor, relative to its largest magnitude."""
ORDINARY_SCORE = 20.0
"""Above such a score the tolerance grows with it: float32 resolves a score to 6e-8 of its size,
and the weight that it makes no better."""
FEW = 16
"""A few numbers may all happen to be next to nothing: fewer are measured against 1, the spread of
the inputs, where they are smaller."""


def tolerance(largest_score: float) -> float:
    """Returns the largest relative error of what is computed from scores."""
    return TOLERANCE * max(1.0, largest_score / ORDINARY_SCORE)


def relative_error(actual: NDArray[Any], right: NDArray[Any]) -> float:
    """Returns the largest error relative to the largest magnitude; infinite numbers must agree."""
    assert actual.shape == right.shape
    finite = np.isfinite(right)
    assert np.array_equal(actual[~finite], right[~finite])
    right = right[finite]
    if not right.size:
        return 0.0
    magnitude = float(np.abs(right).max())
    if np.count_nonzero(right) < FEW:
        magnitude = max(magnitude, 1.0)
    return float(np.abs(actual[finite].astype(np.float64) - right).max()) / magnitude


def errors(result: AttendResult, expected: Expected) -> dict[str, float]:
    """Returns the relative error of each tensor of an answer that holds all rows."""
    return {
        name: relative_error(tensor, expected.tensors[name])
        for name, tensor in result.arrays().items()
    }


def disagreements(
    result: AttendResult, expected: Mapping[str, NDArray[Any]], bound: float
) -> dict[str, float]:
    """Returns the relative error of each expected tensor that is over the bound."""
    errors = {
        name: relative_error(result.arrays()[name], right) for name, right in expected.items()
    }
    return {name: error for name, error in errors.items() if error > bound}
