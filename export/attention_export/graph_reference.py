"""A layer's exported graphs in float64: what they are compared with where the module is gone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from attention_export.errors import VerificationError
from attention_export.float64_graph import Float64Graph
from attention_export.verification_cases import Case
from attention_service.manifest import MODEL_FILE, POSITION_BIAS_FILE, STAGE_FILES, Manifest
from attention_service.reference import attention

__all__ = ["GraphReference"]

Float64Arrays = dict[str, NDArray[np.float64]]
_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
_OUTPUTS = {
    _PROJECT_QUERY: {"query_heads"},
    _PROJECT_KEY_VALUE: {"key_heads", "value_heads"},
    POSITION_BIAS_FILE: {"position_bias"},
    _COMBINE: {"output"},
}


class GraphReference:
    """Computes what a layer should from its graphs alone.

    Of a layer that comes in stages these are computed in float64, and attention between them by its
    formula; ``model.onnx`` has no part in it. Of a layer that comes whole it is all there is.

    Args:
        manifest: Says what the layer is.
        graphs: Serialized ONNX models by file name, all that the manifest lists.

    Raises:
        DamagedModelError: A graph that is none.
        VerificationError: A graph with other outputs than its file should have.
    """

    def __init__(self, manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
        self._defaults = manifest.defaults
        self._staged = manifest.staged
        self._graphs = {name: Float64Graph(name, graphs[name]) for name in manifest.files}
        outputs = {**_OUTPUTS, MODEL_FILE: {"output", "weights"} & set(manifest.outputs)}
        for name, graph in self._graphs.items():
            if set(graph.outputs) != outputs[name]:
                right = " and ".join(sorted(outputs[name]))
                raise VerificationError(
                    f"{name} gives {', '.join(graph.outputs)}, where {right} is right"
                )

    def run(self, case: Case) -> Float64Arrays:
        """Returns every tensor of the layer by its name in the graphs.

        Of a layer in stages also its scores [batch, heads, query_len, kv_len].
        """
        if not self._staged:
            return self._graph(MODEL_FILE, case)
        heads = self._graph(_PROJECT_QUERY, case) | self._graph(_PROJECT_KEY_VALUE, case)
        biases = {}
        if POSITION_BIAS_FILE in self._graphs:
            every_head = np.arange(self._defaults.num_heads)
            biases = self._graph(POSITION_BIAS_FILE, case, heads=every_head)
        computed = attention(
            heads["query_heads"],
            heads["key_heads"],
            heads["value_heads"],
            scale=self._defaults.scale,
            softcap=self._defaults.softcap,
            attn_bias=biases.get("position_bias"),
            allowed=case.attend_mask,
        )
        return {
            **heads,
            **biases,
            "scores": computed.scores,
            "weights": computed.weights,
            "head_outputs": computed.head_outputs,
            **self._graph(_COMBINE, case, head_outputs=computed.head_outputs),
        }

    def _graph(self, name: str, case: Case, **computed: NDArray[np.generic]) -> Float64Arrays:
        graph = self._graphs[name]
        known = {**vars(case), **computed}
        unknown = sorted(set(graph.inputs) - set(known))
        if unknown:
            raise VerificationError(f"{name} takes {unknown[0]}, which no layer is given")
        return graph.run({taken: known[taken] for taken in graph.inputs})
