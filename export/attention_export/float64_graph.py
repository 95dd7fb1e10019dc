"""ONNX graphs in float64: the same operators, computed by ONNX's own reference in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, TypeProto
from onnx.numpy_helper import from_array, to_array
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from attention_export.errors import VerificationError
from attention_export.exported_model import parse_graph

__all__ = ["Float64Graph"]

_TYPE_ATTRIBUTES = frozenset({"dtype", "softmax_precision", "to"})


class Float64Graph:
    """Computes what a float32 graph should: everything that is float32 in it is float64 here.

    Angles alone, the inputs of cosines and sines, are rounded to float32, in which models were
    trained: at position 100,000 a float64 angle is another one.

    Args:
        name: Of the file, for messages.
        graph: Serialized ONNX model.

    Raises:
        DamagedModelError: No ONNX model.
    """

    def __init__(self, name: str, graph: bytes) -> None:
        self._name = name
        self._model = parse_graph(name, graph)
        self.inputs = tuple(value.name for value in self._model.graph.input)
        self.outputs = tuple(value.name for value in self._model.graph.output)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float64]]:
        """Returns every output by name.

        Args:
            inputs: What the graph takes; float32 is taken as float64.

        Raises:
            VerificationError: Inputs that the graph does not take, or an operator that ONNX's
                reference lacks.
        """
        wide = {name: _widened(array) for name, array in inputs.items()}
        try:
            # A graph may divide by 0 and overwrite the outcome; what it gives is looked at later.
            with np.errstate(all="ignore"):
                results = self._evaluator.run(None, wide)
        except Exception as error:  # onnx's have no base of their own, and numpy raises too
            raise VerificationError(
                f"onnx's reference operators do not compute {self._name} in float64"
            ) from error
        return dict(zip(self.outputs, results, strict=True))

    @cached_property
    def _evaluator(self) -> ReferenceEvaluator:
        _widen(self._model)  # here, since it doubles the memory that the weights take
        return ReferenceEvaluator(self._model, new_ops=[Cos, Sin])


class Cos(OpRun):
    """The cosine of a float32 angle, float64; named after the operator, as onnx wants it."""

    op_domain = ""

    def _run(self, angle: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        return (np.cos(angle.astype(np.float32), dtype=np.float64),)


class Sin(OpRun):
    """The sine of a float32 angle, float64."""

    op_domain = ""

    def _run(self, angle: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        return (np.sin(angle.astype(np.float32), dtype=np.float64),)


def _widen(message: Message) -> None:
    """Makes what is float32 in a part of a model float64: tensors, types, targets of casts."""
    if isinstance(message, TensorProto):
        if message.data_type == TensorProto.FLOAT:
            message.CopyFrom(from_array(_widened(to_array(message)), message.name))
        return
    if isinstance(message, TypeProto.Tensor) and message.elem_type == TensorProto.FLOAT:
        message.elem_type = TensorProto.DOUBLE
    elif (
        isinstance(message, AttributeProto)
        and message.name in _TYPE_ATTRIBUTES
        and message.i == TensorProto.FLOAT
    ):
        message.i = TensorProto.DOUBLE
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _widen(part)


def _widened(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return array.astype(np.float64) if array.dtype == np.float32 else array
