"""The ONNX files of a model, looked at before anything runs them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError

from attention_service.onnx_graph import GraphFault, check_graph

__all__ = ["fault_in"]


def fault_in(files: Mapping[str, bytes]) -> str | None:
    """Returns what is wrong with the first of the files that is refused; None where none is."""
    for name, content in files.items():
        try:
            check_graph(onnx.load_model_from_string(content))
        except DecodeError:
            return f"{name} is not ONNX"
        except GraphFault as fault:
            return f"{name} {fault}"
    return None
