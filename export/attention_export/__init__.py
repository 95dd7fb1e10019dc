"""Turns attention layers of PyTorch into verified ONNX models that attention-server serves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_export.errors import (
        DamagedModelError,
        ExportError,
        InvalidNameError,
        ModelExistsError,
        SourceError,
        VerificationError,
    )
    from attention_export.layer_export import ExportReport, export
    from attention_export.module import MultiHeadAttention
    from attention_export.sources.fresh import fresh_layer
    from attention_export.sources.huggingface import HuggingFaceModel
    from attention_export.sources.layer import SourceLayer
    from attention_export.sources.torch_state_dict import read_torch_layer

__all__ = [
    "DamagedModelError",
    "ExportError",
    "ExportReport",
    "HuggingFaceModel",
    "InvalidNameError",
    "ModelExistsError",
    "MultiHeadAttention",
    "SourceError",
    "SourceLayer",
    "VerificationError",
    "export",
    "fresh_layer",
    "read_torch_layer",
]

_MODULES = {
    "ExportReport": "layer_export",
    "HuggingFaceModel": "sources.huggingface",
    "MultiHeadAttention": "module",
    "SourceLayer": "sources.layer",
    "export": "layer_export",
    "fresh_layer": "sources.fresh",
    "read_torch_layer": "sources.torch_state_dict",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, which the command line's --help should not.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
