"""A plain server, as one writes it by hand in an hour: ``python -m bench.plain_server``.

``grpc.server`` with a pool of 16 threads, one ONNX Runtime session, and a handler that calls run.
It is quick because it takes what it needs and nothing else: a request is the float32 embeddings of
one sequence [length, width] as raw bytes, the answer likewise. It checks nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

__all__ = ["METHOD", "main"]

METHOD = "/plain.Attention/Run"
_WORKERS = 16


def main(command_line: Sequence[str] | None = None) -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.plain_server")
    parser.add_argument("model", type=Path, help="model.onnx of a layer")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0, help="of ONNX Runtime; 0 for its default")
    arguments = parser.parse_args(command_line)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        arguments.model, options, providers=["CPUExecutionProvider"]
    )

    def run(request: bytes, context: grpc.ServicerContext) -> bytes:
        x = np.frombuffer(request, np.float32).reshape(1, -1, arguments.width)
        length = x.shape[1]
        mask = np.ones((1, 1, length, length), np.bool_)
        inputs = {"query": x, "key": x, "value": x, "attend_mask": mask}
        output: bytes = session.run(["output"], inputs)[0].tobytes()
        return output

    _, service, method = METHOD.split("/")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method: grpc.unary_unary_rpc_method_handler(run)
    }
    server = grpc.server(ThreadPoolExecutor(_WORKERS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"serving on 127.0.0.1:{port} (plain)", file=sys.stderr, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
