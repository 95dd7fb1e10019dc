"""Sessions and the tensors between them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from attention_server.engine import attention_graphs
from attention_server.engine.providers import CPU, CUDA, Runtime
from attention_server.engine.session import DeviceTensor, Session

_GRAPHS = Path(attention_graphs.__file__).parent / "graphs"
_FAST = (_GRAPHS / "fast_unmasked.onnx").read_bytes()


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2, 1:],
        _read_only(np.arange(24, dtype=np.float32)),
        np.array(0.5, np.float32),
    ],
    ids=["contiguous", "transposed", "a part", "read-only", "a scalar"],
)
def test_a_tensor_on_the_device_holds_the_array(runtime: Runtime, array: NDArray[Any]) -> None:
    tensor = DeviceTensor.from_host(runtime, array)

    assert tensor.shape == array.shape
    assert np.array_equal(tensor.value, array)
    assert np.array_equal(tensor.to_host(), array)


def test_what_a_session_gives_outlives_it(runtime: Runtime) -> None:
    ones = np.ones((1, 2, 3, 4), np.float32)
    session = Session(runtime, _FAST)
    inputs = {name: DeviceTensor.from_host(runtime, ones) for name in ("query", "key", "value")}
    inputs["scale"] = DeviceTensor.from_host(runtime, np.array(1, np.float32))

    host = session.run(["head_outputs"], inputs)[0].to_host()
    del session, inputs
    gc.collect()

    assert np.allclose(host, ones)


class _Bound(Runtime):
    """A device whose tensors must be bound, played by the CPU."""

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def providers(self) -> tuple[str, ...]:
        return (CPU,)


def test_what_is_bound_on_a_device_gives_what_arrays_give(runtime: Runtime) -> None:
    bound = _Bound(onnxruntime, CUDA, intra_op_threads=1)
    random = np.random.default_rng(0)
    inputs = {
        name: random.standard_normal((1, 2, 3, 4)).astype(np.float32)
        for name in ("query", "key", "value")
    }
    inputs["scale"] = np.array(0.5, np.float32)
    outputs = ["head_outputs", "weights"]
    graph = (_GRAPHS / "fast_unmasked_weights.onnx").read_bytes()

    given = [
        Session(device, graph).run(
            outputs, {name: DeviceTensor.from_host(device, array) for name, array in inputs.items()}
        )
        for device in (bound, runtime)
    ]
    gc.collect()

    assert isinstance(given[0][0].value, onnxruntime.OrtValue)
    for elsewhere, here in zip(*given, strict=True):
        assert elsewhere.shape == here.shape
        assert np.array_equal(elsewhere.to_host(), here.to_host())


def test_on_the_cpu_nothing_is_kept_of_a_run(runtime: Runtime) -> None:
    assert not runtime.options().enable_cpu_mem_arena


@pytest.mark.parametrize(
    ("elements", "gives_back"), [(3 << 20, True), (1 << 20, False)], ids=["large", "small"]
)
def test_on_a_gpu_a_large_run_gives_its_memory_back(elements: int, gives_back: bool) -> None:
    given: list[onnxruntime.RunOptions | None] = []

    class Recording:
        def get_outputs(self) -> list[object]:
            return []

        def io_binding(self) -> SimpleNamespace:
            return SimpleNamespace(
                bind_ortvalue_input=lambda *_: None, get_outputs_as_ortvaluevector=list
            )

        def run_with_iobinding(
            self, binding: object, options: onnxruntime.RunOptions | None
        ) -> None:
            given.append(options)

    module = SimpleNamespace(
        SessionOptions=onnxruntime.SessionOptions,
        RunOptions=onnxruntime.RunOptions,
        InferenceSession=lambda *arguments, **options: Recording(),
    )
    on_host = SimpleNamespace(shape=lambda: [elements])

    Session(Runtime(cast(ModuleType, module), CUDA), b"").run([], {"query": DeviceTensor(on_host)})

    shrinks = [
        options is not None
        and options.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "gpu:0"
        for options in given
    ]
    assert shrinks == [gives_back]


class _Older:
    """What an older ONNX Runtime says of a graph."""

    def get_outputs(self) -> list[object]:
        return []


class _Fake(_Older):
    """What ONNX Runtime says of a graph whose operators lie on several providers."""

    def __init__(self, assignment: Sequence[tuple[str, Sequence[str]]]) -> None:
        self._assignment = assignment

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                ep_name=provider,
                get_nodes=lambda operators=operators: [
                    SimpleNamespace(op_type=operator) for operator in operators
                ],
            )
            for provider, operators in self._assignment
        ]


def _cuda_session(assignment: Sequence[tuple[str, Sequence[str]]] | None) -> Session:
    """Returns a session on a GPU that is not here; None for one of an older ONNX Runtime."""
    session = _Older() if assignment is None else _Fake(assignment)
    module = SimpleNamespace(
        SessionOptions=onnxruntime.SessionOptions,
        RunOptions=onnxruntime.RunOptions,
        InferenceSession=lambda *arguments, **options: session,
    )
    return Session(Runtime(cast(ModuleType, module), CUDA), b"")


_COMPUTING = frozenset({"Attention", "MatMul"})


@pytest.mark.parametrize(
    ("assignment", "on_device"),
    [
        ([(CUDA, ["Mul", "Attention"])], True),
        ([(CUDA, ["MatMul", "MatMul"]), (CPU, ["Shape", "Gather"])], True),
        ([(CUDA, ["Mul"]), (CPU, ["Attention"])], False),
        ([(CUDA, ["MatMul"]), (CPU, ["MatMul"])], False),
        (None, False),
    ],
    ids=[
        "all of it",
        "what computes",
        "all but what computes",
        "a part of what computes",
        "where ONNX Runtime does not tell",
    ],
)
def test_a_graph_runs_on_the_device_where_all_that_computes_does(
    assignment: Sequence[tuple[str, Sequence[str]]] | None, on_device: bool
) -> None:
    assert _cuda_session(assignment).runs_on_device(_COMPUTING) is on_device


def test_on_the_cpu_every_graph_runs_on_the_device(runtime: Runtime) -> None:
    assert Session(runtime, _FAST).runs_on_device(_COMPUTING)


def test_onnxruntime_tells_which_provider_runs_which_operator(runtime: Runtime) -> None:
    # What the fake above is made after.
    session = onnxruntime.InferenceSession(_FAST, runtime.options(), providers=[CPU])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("an older ONNX Runtime")

    assigned = [
        (subgraph.ep_name, node.op_type)
        for subgraph in session.get_provider_graph_assignment_info()
        for node in subgraph.get_nodes()
    ]

    assert (CPU, "Attention") in assigned
