"""Which execution provider is taken, and what is said of those that cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import onnxruntime
import pytest

from attention_server.engine.providers import CPU, CUDA, EngineUnavailable, Runtime, load_runtime


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Says which providers ONNX Runtime was built with, whichever is installed here."""

    def say(names: Sequence[str]) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names))

    return say


@pytest.fixture
def without_gpu(
    available: Callable[[Sequence[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Makes onnxruntime what onnxruntime-gpu is on a machine without a GPU."""

    def no_gpu(*arguments: object) -> None:
        raise RuntimeError("no CUDA-capable device is detected")

    available([CUDA, CPU])
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", no_gpu)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("no libcudart.so"))


def test_the_cpu_serves_without_a_note() -> None:
    runtime = load_runtime()

    assert (runtime.provider, runtime.device) == (CPU, "cpu")
    assert runtime.providers == (CPU,)
    assert runtime.notes == ()


def test_where_cuda_is_not_built_in_the_cpu_serves_and_a_note_says_how_to_get_it(
    available: Callable[[Sequence[str]], None],
) -> None:
    available([CPU])

    runtime = load_runtime(("cuda", "cpu"))

    assert runtime.provider == CPU
    (note,) = runtime.notes
    assert "pip install 'attention-service[server-gpu]'" in note
    assert "\n" not in note


@pytest.mark.usefixtures("without_gpu")
def test_where_there_is_no_gpu_the_cpu_serves_and_a_note_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runtime = load_runtime(("cuda", "cpu"))

    assert runtime.provider == CPU
    (note,) = runtime.notes
    assert "CUDA cannot be used" in note
    assert capsys.readouterr() == ("", "")  # what the library prints stays with it


@pytest.mark.parametrize("preferred", [("cuda",), ("cuda", "cpu")])
@pytest.mark.usefixtures("without_gpu")
def test_a_required_provider_that_cannot_be_had_is_an_error(preferred: Sequence[str]) -> None:
    with pytest.raises(EngineUnavailable, match=r"^CUDA cannot be used"):
        load_runtime(preferred, require=True)


@pytest.mark.usefixtures("without_gpu")
def test_where_nothing_that_was_asked_for_can_be_had_there_is_an_error() -> None:
    with pytest.raises(EngineUnavailable, match=r"^CUDA cannot be used"):
        load_runtime(("cuda",))


def test_the_cpu_asked_for_first_is_taken_though_cuda_is_there(
    available: Callable[[Sequence[str]], None],
) -> None:
    available([CUDA, CPU])

    assert load_runtime(("cpu", "cuda")).provider == CPU


def test_without_onnxruntime_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed

    with pytest.raises(EngineUnavailable) as unavailable:
        load_runtime()

    assert "pip install 'attention-service[server]'" in str(unavailable.value)


def test_onnxruntime_is_told_to_report_nothing_before_it_is_loaded() -> None:
    program = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))

os.environ.pop("ORT_DISABLE_TELEMETRY", None)
sys.meta_path.insert(0, Watch())
from attention_server.engine.providers import load_runtime
load_runtime()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.split() == [b"1"]


@pytest.mark.parametrize(
    ("asked", "cores", "threads"),
    [(0, 1, 1), (0, 2, 2), (0, 8, 8), (0, 64, 8), (3, 64, 3), (16, 2, 16)],
)
def test_a_run_has_a_thread_a_core_and_at_most_8_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: int, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)

    options = load_runtime(intra_op_threads=asked).options()

    assert options.intra_op_num_threads == threads


def test_a_cpu_can_do_with_one_thread_a_run() -> None:
    single = Runtime(onnxruntime, CPU, intra_op_threads=4).single_threaded()

    assert single.options().intra_op_num_threads == 1
    assert single.single_threaded() is single


def test_a_gpu_has_one_manner() -> None:
    runtime = Runtime(onnxruntime, CUDA, intra_op_threads=4)

    assert runtime.single_threaded() is runtime


def test_beside_cuda_stands_the_cpu() -> None:
    runtime = Runtime(onnxruntime, CUDA)

    assert runtime.device == "cuda"
    assert runtime.providers == (CUDA, CPU)
