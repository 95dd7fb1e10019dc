"""Exported graphs against float64: a layer is written only where both compute the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attention_export.errors import VerificationError
from attention_export.onnx_session import Arrays, OnnxSession
from attention_export.verification_cases import Case, cases
from attention_service.manifest import MODEL_FILE, POSITION_BIAS_FILE, STAGE_FILES, Manifest
from attention_service.reference import attention

__all__ = ["TOLERANCE", "Reference", "input_spread", "verify"]

TOLERANCE = 1e-5
"""Largest error of a tensor, relative to its largest magnitude."""

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
# Float32 resolves a score to 6e-8 of its size, which becomes the relative error of a weight: at
# scores of 100, rounding alone comes near the tolerance and would hide faults of the graph.
_LARGEST_SCORE = 20.0


class Reference(Protocol):
    """Computes in float64 what a layer should."""

    def run(self, case: Case) -> Mapping[str, NDArray[np.float64]]:
        """Returns every tensor of the layer by its name in the graphs.

        Of a layer that comes in stages also its scores, before softcap, bias and mask.
        """
        ...


def verify(
    manifest: Manifest, graphs: Mapping[str, bytes], reference: Reference
) -> dict[str, float]:
    """Returns the largest error of each tensor, relative to its largest magnitude.

    The whole layer, and its stages with attention in float64 between them, run in ONNX Runtime over
    sizes, masks and positions of every kind. What is exactly 0 in the reference, the weight on a
    masked key say, must be exactly 0.

    Args:
        manifest: Says what the layer is, and how large its inputs shall be.
        graphs: Serialized ONNX models by file name, all that the manifest lists.
        reference: What is right.

    Raises:
        VerificationError: An error over ``TOLERANCE``, or a graph that ONNX Runtime does not run.
    """
    sessions = {name: OnnxSession(name, graphs[name]) for name in manifest.files}
    worst: dict[str, tuple[float, Case]] = {}
    magnitudes: dict[str, float] = {}
    for case in cases(manifest, spread=manifest.spread):
        expected = reference.run(case)
        actual = sessions[MODEL_FILE].run(_inputs(sessions[MODEL_FILE], case))
        if manifest.staged:
            actual |= _staged(sessions, manifest, case)
        for name, tensor in actual.items():
            right = expected[name.removeprefix("staged_")]
            error = _error(tensor, right)
            if name not in worst or error > worst[name][0]:
                worst[name] = error, case
            magnitudes[name] = max(magnitudes.get(name, 0.0), float(np.abs(right).max()))
    return {name: _relative(name, *worst[name], magnitudes[name]) for name in worst}


def input_spread(manifest: Manifest, reference: Reference) -> float:
    """Returns the largest standard deviation of inputs, at most 1, that keeps scores in bounds.

    Args:
        manifest: Says what the layer is, one that comes in stages.
        reference: What is right.
    """
    probe = max(cases(manifest, spread=1.0), key=lambda case: case.attend_mask.size)
    largest = float(np.abs(reference.run(probe)["scores"]).max())
    return math.sqrt(_LARGEST_SCORE / largest) if largest > _LARGEST_SCORE else 1.0


def _staged(sessions: Mapping[str, OnnxSession], manifest: Manifest, case: Case) -> Arrays:
    """Returns what the stages give, and what attention gives between them."""
    query = sessions[_PROJECT_QUERY].run(_inputs(sessions[_PROJECT_QUERY], case))
    key_value = sessions[_PROJECT_KEY_VALUE].run(_inputs(sessions[_PROJECT_KEY_VALUE], case))
    defaults = manifest.defaults
    bias: Arrays = {}
    if manifest.positions == "relative_bias":
        bias = sessions[POSITION_BIAS_FILE].run(
            {
                "query_positions": case.query_positions,
                "key_positions": case.key_positions,
                "heads": np.arange(defaults.num_heads),
            }
        )
    computed = attention(
        query["query_heads"],
        key_value["key_heads"],
        key_value["value_heads"],
        scale=defaults.scale,
        softcap=defaults.softcap,
        attn_bias=bias.get("position_bias"),
        allowed=case.attend_mask,
    )
    combined = sessions[_COMBINE].run({"head_outputs": computed.head_outputs.astype(np.float32)})
    return {
        **query,
        **key_value,
        **bias,
        "head_outputs": computed.head_outputs,
        "staged_weights": computed.weights,
        "staged_output": combined["output"],
    }


def _inputs(session: OnnxSession, case: Case) -> Arrays:
    tensors = vars(case)
    return {name: tensors[name] for name in session.inputs if name in tensors}


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
