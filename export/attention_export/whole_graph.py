"""A person's own module as one ONNX graph."""

from __future__ import annotations

import contextlib
import io

import torch
from torch import Tensor, nn

from attention_export.own_module import OwnModule
from attention_export.own_module_call import results_of
from attention_export.servable_graph import check_servable
from attention_export.to_onnx import TensorSpec, to_onnx

__all__ = ["whole_graph"]

# All different, so that tracing takes no dimension for another.
_SIZES = {"batch": 2, "query_len": 5, "kv_len": 7}


class _Guarded(nn.Module):
    """The module, with 0 in rows that may attend to nothing, where many a softmax gives NaN."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor
    ) -> tuple[Tensor, ...]:
        sighted = attend_mask.any(-1, keepdim=True)  # [batch, 1, query_len, 1]
        returned = self.module(query=query, key=key, value=value, attend_mask=attend_mask)
        output, *weights = (tensor.float() for tensor in results_of(returned))
        return (
            torch.where(sighted[:, 0], output, 0.0),
            *(torch.where(sighted, each, 0.0) for each in weights),
        )


def whole_graph(own: OwnModule) -> bytes:
    """Returns the module as a serialized ONNX model, every size but widths and heads dynamic.

    Its inputs are query, key and value, float32, and attend_mask, bool
    [batch, 1, query_len, kv_len]; its outputs those of the module, float32, 0 in rows that may
    attend to nothing.

    Raises:
        ExportError: A module that torch does not export, or a graph that no server takes.
    """
    outputs = {
        "output": TensorSpec(("batch", "query_len", own.output_dim)),
        "weights": TensorSpec(("batch", own.num_heads, "query_len", "kv_len")),
    }
    # Where torch fails it prints the graph so far; the error says what matters.
    with contextlib.redirect_stderr(io.StringIO()):
        graph = to_onnx(
            _Guarded(own.module).eval(),
            inputs={
                "query": TensorSpec(("batch", "query_len", own.query_dim)),
                "key": TensorSpec(("batch", "kv_len", own.key_dim)),
                "value": TensorSpec(("batch", "kv_len", own.value_dim)),
                "attend_mask": TensorSpec(("batch", 1, "query_len", "kv_len"), torch.bool),
            },
            outputs={name: outputs[name] for name in own.outputs},
            sizes=_SIZES,
        )
    check_servable(graph)
    return graph
