"""A model that takes hours."""

from __future__ import annotations

import numpy as np
from onnx import helper, load_model_from_string, numpy_helper

__all__ = ["slow"]


def slow(combine: bytes) -> bytes:
    """Returns the last stage of a model, but that it multiplies matrices for hours."""
    model = load_model_from_string(combine)
    graph = model.graph
    graph.node[[list(node.output) for node in graph.node].index(["output"])].output[0] = "before"
    for name, shape in {"column": (8000, 1), "row": (1, 8000)}.items():
        graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    # The sum keeps it from being computed once, as the graph is loaded, within no bounds at all.
    graph.node.append(helper.make_node("ReduceSum", ["before"], ["sum"], keepdims=0))
    graph.node.append(helper.make_node("Mul", ["column", "sum"], ["scaled"]))
    graph.node.append(helper.make_node("Mul", ["scaled", "row"], ["power0"]))
    for i in range(500):
        names = [f"power{i}", f"power{i}"]
        graph.node.append(helper.make_node("MatMul", names, [f"power{i + 1}"]))
    graph.node.append(helper.make_node("ReduceSum", ["power500"], ["total"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["before", "total"], ["output"]))
    changed: bytes = model.SerializeToString()
    return changed
