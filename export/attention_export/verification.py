"""Exported graphs against float64: a layer is written only where both compute the same."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from attention_export.attention_graphs import attention_graph
from attention_export.errors import VerificationError
from attention_export.float64_layer import Float64Layer
from attention_export.module import MultiHeadAttention
from attention_export.onnx_session import Arrays, OnnxSession
from attention_export.verification_cases import Case, cases
from attention_service.manifest import MODEL_FILE, STAGE_FILES

__all__ = ["TOLERANCE", "verify"]

TOLERANCE = 1e-5
"""Largest error of a tensor, relative to its largest magnitude."""

_ATTENTION = "fast_weights.onnx"
_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
# Float32 resolves a score to 6e-8 of its size, which becomes the relative error of a weight: at
# scores of 100, rounding alone comes near the tolerance and would hide faults of the graph.
_LARGEST_SCORE = 20.0


def verify(layer: MultiHeadAttention, graphs: Mapping[str, bytes]) -> dict[str, float]:
    """Returns the largest error of each tensor, relative to its largest magnitude.

    The whole layer, and its stages with attention between them, run in ONNX Runtime over sizes and
    masks of every kind and are compared with float64. What is exactly 0 there, the weight on a
    masked key say, must be exactly 0.

    Args:
        layer: A float32 layer on the CPU.
        graphs: Serialized ONNX models by file name, as ``layer_graph`` gives them.

    Raises:
        VerificationError: An error over ``TOLERANCE``, or a graph that ONNX Runtime does not run.
    """
    graphs = {**graphs, _ATTENTION: attention_graph(_ATTENTION)}
    sessions = {name: OnnxSession(name, graph) for name, graph in graphs.items()}
    reference = Float64Layer(layer)
    worst: dict[str, tuple[float, Case]] = {}
    magnitudes: dict[str, float] = {}
    for case in cases(layer, spread=_spread(layer, reference)):
        expected = reference.run(case.query, case.key, case.value, case.attend_mask)
        for name, actual in {**_whole(sessions, case), **_staged(sessions, layer, case)}.items():
            right = expected[name.removeprefix("staged_")]
            error = _error(actual, right)
            if name not in worst or error > worst[name][0]:
                worst[name] = error, case
            magnitudes[name] = max(magnitudes.get(name, 0.0), float(np.abs(right).max()))
    return {name: _relative(name, *worst[name], magnitudes[name]) for name in worst}


def _spread(layer: MultiHeadAttention, reference: Float64Layer) -> float:
    """Returns the largest standard deviation of inputs, at most 1, that keeps scores in bounds."""
    probe = max(cases(layer, spread=1.0), key=lambda case: case.attend_mask.size)
    scores = reference.run(probe.query, probe.key, probe.value, probe.attend_mask)["scores"]
    largest = float(np.abs(scores).max())
    return math.sqrt(_LARGEST_SCORE / largest) if largest > _LARGEST_SCORE else 1.0


def _whole(sessions: Mapping[str, OnnxSession], case: Case) -> Arrays:
    return sessions[MODEL_FILE].run(
        {
            "query": case.query,
            "key": case.key,
            "value": case.value,
            "attend_mask": case.attend_mask,
        }
    )


def _staged(sessions: Mapping[str, OnnxSession], layer: MultiHeadAttention, case: Case) -> Arrays:
    query = sessions[_PROJECT_QUERY].run({"query": case.query})
    key_value = sessions[_PROJECT_KEY_VALUE].run({"key": case.key, "value": case.value})
    attention = sessions[_ATTENTION].run(
        {
            "query": query["query_heads"],
            "key": key_value["key_heads"],
            "value": key_value["value_heads"],
            "scale": np.array(layer.scale, np.float32),
            "attn_bias": np.where(case.attend_mask, 0.0, -np.inf).astype(np.float32),
        }
    )
    combined = sessions[_COMBINE].run({"head_outputs": attention["head_outputs"]})
    return {
        **query,
        **key_value,
        "head_outputs": attention["head_outputs"],
        "staged_weights": attention["weights"],
        "staged_output": combined["output"],
    }


def _error(actual: NDArray[np.generic], right: NDArray[np.float64]) -> float:
    if actual.shape != right.shape or np.any(actual[right == 0.0]):
        return math.inf
    error = float(np.abs(actual.astype(np.float64) - right).max())
    return math.inf if math.isnan(error) else error


def _relative(name: str, error: float, case: Case, magnitude: float) -> float:
    # The magnitude is that over all cases: in a case of a single number, the number may happen to
    # be next to nothing.
    relative = error / magnitude if magnitude else error
    if relative > TOLERANCE:
        raise VerificationError(
            f"{name} of the exported graphs is {relative:.1e} off float64, relative to its largest "
            f"magnitude; at most {TOLERANCE:.0e} is right (worst: {case})"
        )
    return float(f"{relative:.1e}")  # further digits say nothing and differ between machines
