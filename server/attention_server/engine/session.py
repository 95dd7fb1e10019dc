"""One ONNX graph, ready to run, its tensors left on the device between sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_server.engine.model_unusable import ModelUnusable
from attention_server.engine.providers import CPU, Runtime

__all__ = ["DeviceTensor", "Session"]

_FLOAT32 = "tensor(float)"
_LARGE_BYTES = 8 << 20


class DeviceTensor:
    """A tensor on the device; on the CPU it is an array and nothing more."""

    __slots__ = ("_host", "value")

    def __init__(self, value: Any, host: NDArray[Any] | None = None) -> None:
        self.value = value
        """What a session takes: an array on the CPU, an onnxruntime.OrtValue elsewhere."""
        self._host: NDArray[Any] | None = value if isinstance(value, np.ndarray) else host

    @classmethod
    def from_host(cls, runtime: Runtime, array: NDArray[Any]) -> DeviceTensor:
        """Returns the array on the device."""
        contiguous = np.asarray(array, order="C")
        if runtime.provider == CPU:
            return cls(contiguous)
        value = runtime.onnxruntime.OrtValue.ortvalue_from_numpy(contiguous, runtime.device, 0)
        return cls(value, contiguous)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        return tuple(self.value.shape()) if self._host is None else self._host.shape

    @property
    def nbytes(self) -> int:
        """Size of a tensor of 4-byte elements, as all large tensors between sessions are."""
        return 4 * math.prod(self.shape)

    def to_host(self) -> NDArray[Any]:
        """Returns the tensor as an array, not to be changed."""
        if self._host is None:
            self._host = self.value.numpy()
        return self._host


class Session:
    """An InferenceSession that takes tensors on the device and gives float32 ones.

    Raises:
        ModelUnusable: A graph that gives anything else.
    """

    def __init__(self, runtime: Runtime, model: bytes) -> None:
        self._runtime = runtime
        # Its fallback would print what a model it refuses is refused for, and then try again.
        self._session = runtime.onnxruntime.InferenceSession(
            model, runtime.options(), providers=list(runtime.providers), enable_fallback=0
        )
        for output in self._session.get_outputs():
            if output.type != _FLOAT32:
                # What is finite in float64 may not be so in the answer.
                raise ModelUnusable(f"every output must be {_FLOAT32}, but one is {output.type}")
        self._large_run_options = runtime.large_run_options()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, DeviceTensor]) -> list[DeviceTensor]:
        """Returns the named outputs."""
        values = {name: tensor.value for name, tensor in inputs.items()}
        if self._runtime.provider == CPU:
            # Arrays go in and come out as they are. run_with_ort_values copies nothing either, but
            # iterates what C++ gives it, which ends in an exception there: 35 us a run.
            return [DeviceTensor(array) for array in self._session.run(outputs, values)]
        large = sum(tensor.nbytes for tensor in inputs.values()) > _LARGE_BYTES
        # Without a binding ONNX Runtime copies every output to the host.
        binding = self._session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, self._runtime.device)
        self._session.run_with_iobinding(binding, self._large_run_options if large else None)
        results = binding.get_outputs_as_ortvaluevector()
        # By index: to iterate ends in that exception.
        return [
            DeviceTensor(self._runtime.onnxruntime.OrtValue(results[index]))
            for index in range(len(outputs))
        ]

    def runs_on_device(self, operators: frozenset[str]) -> bool:
        """Returns whether the provider that was chosen runs every one of these operators."""
        if self._runtime.provider == CPU:
            return True
        try:
            assignment = self._session.get_provider_graph_assignment_info()
        except AttributeError:  # not in older releases of ONNX Runtime
            return False
        return all(
            subgraph.ep_name == self._runtime.provider
            for subgraph in assignment
            for node in subgraph.get_nodes()
            if node.op_type in operators
        )
