"""Rivals without a wire: ONNX Runtime and PyTorch in the process that asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrivals import embeddings
from bench.timed import latencies, timed
from bench.worker import Figures

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Measure", "onnx_attention", "onnx_layer", "onnx_product", "torch_layer"]

Measure = Callable[..., Figures]


@contextmanager
def onnx_layer(model: Path, width: int, length: int) -> Iterator[Measure]:
    """Measures model.onnx in bare ONNX Runtime with its default options, one thread a core."""
    session = _session(model)
    x = embeddings(1, length, width)
    mask = np.ones((1, 1, length, length), np.bool_)
    inputs = {"query": x, "key": x, "value": x, "attend_mask": mask}
    yield lambda seconds: latencies(timed(lambda: session.run(["output"], inputs), seconds))


@contextmanager
def torch_layer(width: int, heads: int, length: int) -> Iterator[Measure]:
    """Measures torch.nn.MultiheadAttention without weights, as quick as it can be asked."""
    import torch

    layer = torch.nn.MultiheadAttention(width, heads, batch_first=True).eval()
    x = torch.from_numpy(embeddings(1, length, width))
    with torch.inference_mode():
        yield lambda seconds: latencies(timed(lambda: layer(x, x, x, need_weights=False), seconds))


@contextmanager
def onnx_product(width: int, length: int) -> Iterator[Measure]:
    """Measures the matrix products of a layer's four projections alone, in ONNX Runtime.

    Below this no float32 layer can go. Adds the figure "gflops", products and sums a second / 1e9.
    """
    from onnx import TensorProto, helper

    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, (width, 4 * width), embeddings(width, 4 * width).tobytes(), raw=True
    )
    session = _session(
        _model(
            [node],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (length, width))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (length, 4 * width))],
            [weights],
        )
    )
    inputs = {"x": embeddings(length, width)}

    def measure(seconds: float) -> Figures:
        figures = latencies(timed(lambda: session.run(None, inputs), seconds))
        return {**figures, "gflops": 8 * length * width**2 / figures["ms"] / 1e6}

    yield measure


@contextmanager
def onnx_attention(kind: str, heads: int, head_dim: int, length: int) -> Iterator[Measure]:
    """Measures ONNX Runtime's own operator for attention without projections.

    ``kind`` is "causal" or "full", of ONNX's ``Attention``, or "flash", its own
    ``MultiHeadAttention`` without any mask.
    """
    from onnx import TensorProto, helper

    if kind == "flash":
        shape: tuple[int, ...] = (1, length, heads * head_dim)
        node = helper.make_node(
            "MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=heads
        )
    else:
        shape = (1, heads, length, head_dim)
        node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=kind == "causal")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "qkvy"]
    session = _session(_model([node], values[:3], values[3:], []))
    inputs = {name: embeddings(*shape, seed=seed) for seed, name in enumerate("qkv")}
    yield lambda seconds: latencies(timed(lambda: session.run(None, inputs), seconds))


def _model(nodes: Any, inputs: Any, outputs: Any, initializers: Any) -> bytes:
    from onnx import helper

    graph = helper.make_graph(nodes, "bench", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    serialized: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=10
    ).SerializeToString()
    return serialized


def _session(model: Path | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
