"""From a PyTorch module to the bytes of an ONNX graph: the same module, the same bytes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from attention_export.errors import ExportError
from attention_export.torch_failure import why

__all__ = ["OPSET", "TensorSpec", "to_onnx"]

OPSET = 23
"""ONNX opset of every graph: the first one that has Attention."""

# What torch says of its own inner workings; nobody who exports could act on it.
_KNOWN_WARNING = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
_KNOWN_LOGGERS = (
    "torch.onnx._internal.exporter._registration",  # "torchvision is not installed"
    "onnxscript.optimizer._constant_folding",  # "Skipping constant folding"
    "torch.export._trace",  # what the error says that follows
    "torch.fx.experimental.symbolic_shapes",
)


class TensorSpec(NamedTuple):
    """Shape and element type of an input or output; a named dimension is dynamic."""

    shape: tuple[str | int, ...]
    dtype: torch.dtype = torch.float32


def to_onnx(
    module: nn.Module,
    *,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    sizes: Mapping[str, int],
) -> bytes:
    """Returns the module's forward as a serialized ONNX model, its weights inside.

    Args:
        module: In evaluation mode; its forward takes the inputs in order.
        inputs: Name and spec of each argument of forward.
        outputs: Name and spec of each result.
        sizes: A size to trace with for each named dimension of the inputs: at least 2, since torch
            takes a 1 for a dimension that never changes. The graph takes any size, 1 included.

    Raises:
        ExportError: A module that torch does not export with these dimensions dynamic.
    """
    try:
        with _without_known_noise(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(_example(spec, sizes) for spec in inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=tuple(_dynamic_dimensions(spec) for spec in inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = why(error, {name: spec.shape for name, spec in inputs.items()})
        raise ExportError(f"torch does not export the graph: {reason}") from error
    assert program is not None  # only the exporter before this one, dynamo=False, gives none
    model = program.model
    _strip(model)
    _declare(model.graph.inputs, inputs)
    _declare(model.graph.outputs, outputs)
    serialized: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return serialized


def _example(spec: TensorSpec, sizes: Mapping[str, int]) -> Tensor:
    shape = [sizes[d] if isinstance(d, str) else d for d in spec.shape]
    return torch.ones(shape, dtype=spec.dtype)


def _dynamic_dimensions(spec: TensorSpec) -> dict[int, object]:
    return {i: torch.export.Dim.DYNAMIC for i, d in enumerate(spec.shape) if isinstance(d, str)}


def _strip(model: ir.Model) -> None:
    """Removes what differs between machines: source paths, stack traces, the build of torch."""
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.producer_version = None
    graph = model.graph
    computed = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        value.metadata_props.clear()  # which the pass leaves alone
        value.doc_string = None
    for value in set(computed) - set(graph.outputs):
        # ONNX Runtime infers shapes itself, and torch's for Attention's weights are wrong.
        value.shape = None
        value.type = None


def _declare(values: Iterable[ir.Value], specs: Mapping[str, TensorSpec]) -> None:
    for value, spec in zip(values, specs.values(), strict=True):
        value.shape = ir.Shape(spec.shape)


@contextmanager
def _without_known_noise() -> Iterator[None]:
    levels = {logger: logger.level for logger in map(logging.getLogger, _KNOWN_LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _KNOWN_WARNING, FutureWarning)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
