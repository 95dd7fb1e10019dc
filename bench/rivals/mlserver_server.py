"""Serves a layer with MLServer: ``python -m bench.rivals.mlserver_server MODEL``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.cli.main import main as mlserver
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.rivals.free_ports import free_ports

__all__ = ["OnnxLayer"]


class OnnxLayer(MLModel):  # type: ignore[misc]  # it has no types here
    """A layer in one ONNX Runtime session."""

    async def load(self) -> bool:
        """Loads it."""
        model = self.settings.parameters.uri
        self._session: Any = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Returns the output."""
        query = NumpyCodec.decode_input(payload.inputs[0])
        length = query.shape[1]
        mask = np.ones((1, 1, length, length), np.bool_)
        inputs = {"query": query, "key": query, "value": query, "attend_mask": mask}
        output = self._session.run(["output"], inputs)[0]
        encoded = NumpyCodec.encode_output("output", output)
        return InferenceResponse(model_name=self.name, outputs=[encoded])


def main(model: str) -> None:
    """Serves until it is stopped."""
    http, grpc, metrics = free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        layer = {
            "name": "layer",
            "implementation": "bench.rivals.mlserver_server.OnnxLayer",
            "parameters": {"uri": model, "version": "1"},
        }
        server = {
            "host": "127.0.0.1",
            "http_port": http,
            "grpc_port": grpc,
            "metrics_port": metrics,
            "parallel_workers": 0,  # one process, as all others here
        }
        Path(folder, "model-settings.json").write_text(json.dumps(layer), encoding="utf-8")
        Path(folder, "settings.json").write_text(json.dumps(server), encoding="utf-8")
        # It says nothing that tells when it serves: who asks waits for the model to be ready.
        print(f"serving on 127.0.0.1:{grpc} (MLServer)", file=sys.stderr, flush=True)
        sys.argv = ["mlserver", "start", folder]
        mlserver()


if __name__ == "__main__":
    main(sys.argv[1])
