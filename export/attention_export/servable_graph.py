"""Whether servers take a graph."""

from __future__ import annotations

import onnx

from attention_export.errors import ExportError
from attention_service.onnx_graph import GraphFault, check_graph

__all__ = ["check_servable"]


def check_servable(graph: bytes) -> None:
    """Checks that the graph is flat, made of ONNX's operators, and has all its weights in itself.

    Raises:
        ExportError: No server would take it.
        DecodeError: It is no ONNX model.
    """
    try:
        check_graph(onnx.load_model_from_string(graph))
    except GraphFault as fault:
        operator = f" ({fault.operator})" if fault.operator else ""
        raise ExportError(f"no server takes the graph: it {fault}{operator}") from None
