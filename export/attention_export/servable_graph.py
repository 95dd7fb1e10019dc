"""What servers take of a graph that was not written here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import onnx
from onnx import NodeProto, TensorProto

from attention_export.errors import ExportError

__all__ = ["check_servable"]

# The server's own rules stand in its models/graph.py; a test holds both together.
_MOST_OPERATORS = 1000
_MOST_OTHER_BYTES = 4 << 20
_STANDARD_DOMAINS = ("", "ai.onnx")
_ITEM_BYTES: Mapping[int, int] = {
    TensorProto.BOOL: 1,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.INT16: 2,
    TensorProto.UINT16: 2,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.INT32: 4,
    TensorProto.UINT32: 4,
    TensorProto.FLOAT: 4,
    TensorProto.INT64: 8,
    TensorProto.UINT64: 8,
    TensorProto.DOUBLE: 8,
}
_TYPED_DATA = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
_RANDOM = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def check_servable(graph: bytes) -> None:
    """Checks that the graph is flat, made of ONNX's operators, and has all its weights in itself.

    Raises:
        ExportError: No server would take it.
        DecodeError: It is no ONNX model.
    """
    model = onnx.load_model_from_string(graph)
    nodes = model.graph.node
    for what, found in (
        ("decides or repeats while it runs", [n for n in nodes if _has_graph(n)]),
        ("draws random numbers", [n for n in nodes if n.op_type in _RANDOM]),
        (
            "uses operators outside ONNX's own",
            [n for n in nodes if n.domain not in _STANDARD_DOMAINS],
        ),
    ):
        if found:
            names = ", ".join(sorted({node.op_type for node in found}))
            raise ExportError(f"the graph {what} ({names}), which no server takes")
    if len(nodes) > _MOST_OPERATORS:
        raise ExportError(
            f"the graph has {len(nodes)} operators, where servers take at most {_MOST_OPERATORS}"
        )
    if fault := _fault_beside_operators(model):
        raise ExportError(f"the graph {fault}, which no server takes")


def _fault_beside_operators(model: onnx.ModelProto) -> str | None:
    """Returns what is wrong with the rest, having taken the weights out of the model."""
    if model.functions:
        return "has functions of its own"
    if model.training_info:
        return "has training steps"
    if model.graph.sparse_initializer or any(map(_has_sparse, model.graph.node)):
        return "has sparse weights"
    for tensor in itertools.chain(model.graph.initializer, _constants(model)):
        if fault := _fault_in_tensor(tensor):
            return fault
        tensor.ClearField("raw_data")
    size = model.ByteSize()
    if size > _MOST_OTHER_BYTES:
        return f"holds more than {_MOST_OTHER_BYTES >> 20} MiB beside its weights"
    model.DiscardUnknownFields()
    # ONNX Runtime may know what is not known here.
    return "has fields that are not ONNX's" if model.ByteSize() != size else None


def _fault_in_tensor(tensor: TensorProto) -> str | None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        return "keeps weights in another file"
    if tensor.data_type not in _ITEM_BYTES:
        return "has weights other than bool, float16 to 64, bfloat16 and (u)int8 to 64"
    items = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        holds, needs = len(tensor.raw_data), items * _ITEM_BYTES[tensor.data_type]
    else:
        holds, needs = sum(len(getattr(tensor, name)) for name in _TYPED_DATA), items
    if holds != needs or any(size < 0 for size in tensor.dims):
        return "has a weight that holds more or less than its shape says"
    return None


def _constants(model: onnx.ModelProto) -> Iterator[TensorProto]:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _has_graph(node: NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _has_sparse(node: NodeProto) -> bool:
    return any(
        attribute.HasField("sparse_tensor") or attribute.sparse_tensors
        for attribute in node.attribute
    )
