"""What an ONNX file of a model may hold: one flat graph of standard operators, weights and all.

For those who have onnx: the server looks before it runs a model, the exporter before it writes one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import NodeProto, TensorProto

__all__ = ["GraphFault", "check_graph"]

# An exported stage has some 20 operators and takes some kilobytes beside its weights. The time to
# load one grows with the square of its operators: 1,000 take a second or two, 10,000 minutes.
_MOST_OPERATORS = 1000
_MOST_OTHER_BYTES = 4 << 20
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
_STANDARD_DOMAINS = ("", "ai.onnx")
_RANDOM = frozenset(
    {
        "Bernoulli",
        "Dropout",  # where it is told to train; a layer needs none that is not
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


class GraphFault(Exception):
    """What is wrong with a graph, to be read after "it" or its file's name."""

    def __init__(self, fault: str, operator: str = "") -> None:
        super().__init__(fault)
        self.operator = operator
        """The operator at fault as the file spells it, with whatever characters; "" for none."""


def check_graph(model: onnx.ModelProto) -> None:
    """Looks at a model, and takes its weights out of it.

    A graph without loops, branches and functions runs each operator once a request, and one whose
    weights all lie in the file reads no other.

    Raises:
        GraphFault: No server takes it.
    """
    if model.functions:
        raise GraphFault("has functions of its own; a graph that is served is flat")
    if model.training_info:
        raise GraphFault("has training steps; a graph that is served only computes")
    graph = model.graph
    if len(graph.node) > _MOST_OPERATORS:
        raise GraphFault(f"has more than {_MOST_OPERATORS} operators")
    if graph.sparse_initializer:
        raise GraphFault("has sparse weights, which must be dense")
    for tensor in itertools.chain(graph.initializer, _constants(graph.node)):
        _check_tensor(tensor)
        tensor.ClearField("raw_data")
    size = model.ByteSize()
    if size > _MOST_OTHER_BYTES:
        raise GraphFault(f"holds more than {_MOST_OTHER_BYTES >> 20} MiB beside its weights")
    model.DiscardUnknownFields()
    if model.ByteSize() != size:
        # ONNX Runtime may know them, and what they mean would go unchecked.
        raise GraphFault("has fields that the onnx package here does not know")


def _constants(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yields the tensors in attributes.

    Raises:
        GraphFault: A node that is none of a flat graph of standard operators.
    """
    for node in nodes:
        if node.domain not in _STANDARD_DOMAINS:
            raise GraphFault("uses operators outside the ONNX standard", node.op_type)
        if node.op_type in _RANDOM:
            raise GraphFault(
                "draws random numbers; equal requests must have equal answers", node.op_type
            )
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise GraphFault(
                    "has loops or branches; a graph that is served is flat", node.op_type
                )
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise GraphFault("has sparse weights, which must be dense")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise GraphFault("refers to other files for its weights (external data)")
    if tensor.data_type not in _ITEM_BYTES:
        raise GraphFault("holds weights other than bool, float16 to 64, bfloat16 and (u)int8 to 64")
    if any(size < 0 for size in tensor.dims):
        raise GraphFault("has a weight of negative size")
    items = math.prod(tensor.dims)  # of Python's ints: it does not overflow
    if tensor.HasField("raw_data"):
        holds, needs = len(tensor.raw_data), items * _ITEM_BYTES[tensor.data_type]
    else:
        holds, needs = sum(len(getattr(tensor, name)) for name in _TYPED_DATA), items
    if holds != needs:
        raise GraphFault("has a weight that holds more or less than its shape says")
