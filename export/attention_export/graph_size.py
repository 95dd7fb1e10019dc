"""How large a layer may be: an ONNX model without external data is one protobuf message."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from attention_export.errors import ExportError

__all__ = ["check_size"]

_LARGEST_WEIGHTS = 2**31 - 2**20  # bytes; what is left is room for all but the weights


def check_size(layer: nn.Module) -> None:
    """Checks that the layer's weights fit into one ONNX file as float32.

    Raises:
        ExportError: They do not.
    """
    # A module that is not known may hold tables as buffers. A parameter may still be without size.
    tensors = (x for x in (*layer.parameters(), *layer.buffers()) if not is_lazy(x))
    size = sum(x.numel() * (4 if x.is_floating_point() else x.element_size()) for x in tensors)
    if size > _LARGEST_WEIGHTS:
        raise ExportError(
            f"the weights take {size / 2**30:.1f} GiB; a model holds less than 2 GiB, since it "
            "is one ONNX file without external data"
        )
