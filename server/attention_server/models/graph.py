"""What an ONNX file of a model may hold: one flat graph of standard operators, weights and all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import onnx
from google.protobuf.message import DecodeError
from onnx import NodeProto, TensorProto

__all__ = ["fault_in"]

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


class _Fault(Exception):
    """What is wrong with a file, to be read after its name."""


def fault_in(files: Mapping[str, bytes]) -> str | None:
    """Returns what is wrong with the first of the ONNX files that is refused; None where none is.

    A graph without loops, branches and functions runs each operator once a request, and one whose
    weights all lie in the file reads no other.
    """
    for name, content in files.items():
        try:
            _check(onnx.load_model_from_string(content))
        except DecodeError:
            return f"{name} is not ONNX"
        except _Fault as fault:
            return f"{name} {fault}"
    return None


def _check(model: onnx.ModelProto) -> None:
    """Looks at a model, and takes its weights out of it."""
    if model.functions:
        raise _Fault("has functions of its own; a graph that is served is flat")
    if model.training_info:
        raise _Fault("has training steps; a graph that is served only computes")
    graph = model.graph
    if len(graph.node) > _MOST_OPERATORS:
        raise _Fault(f"has more than {_MOST_OPERATORS} operators")
    if graph.sparse_initializer:
        raise _Fault("has sparse weights, which must be dense")
    for tensor in itertools.chain(graph.initializer, _constants(graph.node)):
        _check_tensor(tensor)
        tensor.ClearField("raw_data")
    size = model.ByteSize()
    if size > _MOST_OTHER_BYTES:
        raise _Fault(f"holds more than {_MOST_OTHER_BYTES >> 20} MiB beside its weights")
    model.DiscardUnknownFields()
    if model.ByteSize() != size:
        # ONNX Runtime may know them, and what they mean would go unchecked.
        raise _Fault("has fields that this server's onnx package does not know")


def _constants(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yields the tensors in attributes.

    Raises:
        _Fault: A node that is none of a flat graph of standard operators.
    """
    for node in nodes:
        if node.domain not in _STANDARD_DOMAINS:
            raise _Fault("uses operators outside the ONNX standard")
        if node.op_type in _RANDOM:
            raise _Fault("draws random numbers; equal requests must have equal answers")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise _Fault("has loops or branches; a graph that is served is flat")
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise _Fault("has sparse weights, which must be dense")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise _Fault("refers to other files for its weights (external data)")
    if tensor.data_type not in _ITEM_BYTES:
        raise _Fault("holds weights other than bool, float16 to 64, bfloat16 and (u)int8 to 64")
    if any(size < 0 for size in tensor.dims):
        raise _Fault("has a weight of negative size")
    items = math.prod(tensor.dims)  # of Python's ints: it does not overflow
    if tensor.HasField("raw_data"):
        holds, needs = len(tensor.raw_data), items * _ITEM_BYTES[tensor.data_type]
    else:
        holds, needs = sum(len(getattr(tensor, name)) for name in _TYPED_DATA), items
    if holds != needs:
        raise _Fault("has a weight that holds more or less than its shape says")
