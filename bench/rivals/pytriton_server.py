"""Serves a layer with PyTriton: ``python -m bench.rivals.pytriton_server MODEL WIDTH``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.rivals.free_ports import free_ports


def main(model: str, width: int) -> None:
    """Serves until it is stopped."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    @batch  # type: ignore[untyped-decorator]
    def run(query: Any) -> dict[str, Any]:
        length = query.shape[1]
        mask = np.ones((1, 1, length, length), np.bool_)
        inputs = {"query": query, "key": query, "value": query, "attend_mask": mask}
        return {"output": session.run(["output"], inputs)[0]}

    http, grpc, metrics = free_ports(3)
    config = TritonConfig(http_port=http, grpc_port=grpc, metrics_port=metrics)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="layer",
            infer_func=run,
            inputs=[Tensor(name="query", dtype=np.float32, shape=(-1, width))],
            outputs=[Tensor(name="output", dtype=np.float32, shape=(-1, width))],
            config=ModelConfig(max_batch_size=64),
        )
        triton.run()
        print(f"serving on 127.0.0.1:{grpc} (PyTriton)", file=sys.stderr, flush=True)
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
