"""Answers: what comes as one message, and what is put together of a stream's chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client.errors import ProtocolError
from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb

__all__ = ["TENSORS", "Answer", "ChunkedAnswer"]

TENSORS = (
    "output",
    "weights",
    "weight_key_indices",
    "scores",
    "query_heads",
    "key_heads",
    "value_heads",
    "head_outputs",
    "log_sum_exp",
)
"""The tensors of an answer."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    message: pb.AttendResponse
    data: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Bytes of the tensors that came in chunks, by name; they are not in the message."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the tensors that are present, by name, as read-only arrays.

        Raises:
            ProtocolError: A tensor that is none.
        """
        message: Any = self.message
        present = filter(message.HasField, TENSORS)
        return {name: self._array(name, getattr(message, name)) for name in present}

    def _array(self, name: str, message: pb.Tensor) -> NDArray[Any]:
        try:
            array = tensor.decode(message, self.data.get(name))
        except tensor.TensorError as error:
            raise ProtocolError(f"the answer's {name} is no tensor: {error}") from error
        array.flags.writeable = False  # what was widened is a copy, and would be writable
        return array


class ChunkedAnswer:
    """An answer of which more is to come, in arrays that are as large as it says from the start.

    Memory is taken as it is written to, so a server that announces much and sends little takes
    little.

    Raises:
        ProtocolError: A tensor that is none, or has too much data.
    """

    def __init__(self, message: pb.AttendResponse) -> None:
        self._message = message
        self._data: dict[str, NDArray[np.uint8]] = {}
        self._filled: dict[str, int] = {}
        for name in TENSORS:
            if message.HasField(name):  # type: ignore[arg-type]  # a literal in the stubs
                self._expect(name, getattr(message, name))

    def _expect(self, name: str, announced: pb.Tensor) -> None:
        try:
            size = tensor.byte_size(announced.data_type, tensor.shape_of(announced))
            data = np.empty(size, np.uint8)
        except (tensor.TensorError, MemoryError, ValueError) as error:
            raise ProtocolError(f"the answer's {name} is no tensor: {error}") from error
        self._data[name] = data
        self._filled[name] = 0
        self._append(name, announced.data)
        announced.ClearField("data")

    def add(self, chunk: pb.TensorChunk) -> None:
        """Takes the bytes that follow those that came.

        Raises:
            ProtocolError: Bytes of no tensor of the answer, or too many.
        """
        if chunk.field not in self._data:
            raise ProtocolError(f"the answer has no {chunk.field!r} to be completed")
        self._append(chunk.field, chunk.data)

    def _append(self, name: str, data: bytes) -> None:
        start, end = self._filled[name], self._filled[name] + len(data)
        if end > self._data[name].size:
            raise ProtocolError(
                f"the answer's {name} has {self._data[name].size} bytes, but {end} came"
            )
        self._data[name][start:end] = np.frombuffer(data, np.uint8)
        self._filled[name] = end

    def complete(self) -> Answer | None:
        """Returns the answer; None as long as bytes are missing."""
        if any(self._filled[name] < data.size for name, data in self._data.items()):
            return None
        return Answer(self._message, self._data)
