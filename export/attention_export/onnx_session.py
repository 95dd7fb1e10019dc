"""One serialized graph, ready to run in ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from attention_export.errors import VerificationError

__all__ = ["Arrays", "OnnxSession"]

Arrays = dict[str, NDArray[np.generic]]


class OnnxSession:
    """Runs one graph, with names for its inputs and outputs.

    Raises:
        VerificationError: A graph that ONNX Runtime does not load.
    """

    def __init__(self, name: str, graph: bytes) -> None:
        # Official builds report to their maker unless this says no before they are loaded.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        self._name = name
        options = onnxruntime.SessionOptions()
        # One thread gives the same bits every time. Warnings are about Attention's weights, whose
        # shape ONNX's shape inference gets wrong.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise VerificationError(f"ONNX Runtime does not load {name}: {error}") from error
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Returns every output by name.

        Raises:
            VerificationError: Inputs that the graph does not take.
        """
        try:
            results = self._session.run(None, dict(inputs))
        except Exception as error:
            raise VerificationError(f"ONNX Runtime does not run {self._name}: {error}") from error
        return dict(zip(self._outputs, results, strict=True))
