"""What a model does to the process that tries it costs neither the server nor the next model."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, load_model_from_string, numpy_helper

from attention_server import trial
from attention_server.models.repository import BUILT_IN, FoundModel, find_models
from attention_server.trial import Trial
from tests.processes import record_processes
from tests.slow_model import slow

QUERY, KEY_VALUE, COMBINE = "project_query.onnx", "project_key_value.onnx", "combine.onnx"
SIGNALLED = "the process that tried it ended (signal {})"


@pytest.fixture(scope="module")
def good() -> FoundModel:
    (model,) = find_models([BUILT_IN])
    assert isinstance(model, FoundModel)
    return model


@pytest.fixture
def trying() -> Iterator[Trial]:
    with Trial() as trying:
        yield trying


def with_file(model: FoundModel, name: str, content: bytes) -> FoundModel:
    return FoundModel(model.directory, model.manifest, {**model.files, name: content})


def test_good_model_passes(trying: Trial, good: FoundModel) -> None:
    assert trying.fault_of(good) is None


def test_model_is_refused_with_the_engines_words(trying: Trial, good: FoundModel) -> None:
    swapped = with_file(good, QUERY, good.files[COMBINE])

    fault = trying.fault_of(swapped)

    assert fault is not None
    assert fault.startswith("ONNX Runtime does not run it: ")


def test_model_is_refused_for_what_its_graph_holds(trying: Trial, good: FoundModel) -> None:
    assert trying.fault_of(with_file(good, COMBINE, b"\xff")) == "combine.onnx is not ONNX"


def test_refused_models_have_the_next_tried_by_the_same_process(
    trying: Trial, good: FoundModel, started: list[subprocess.Popen[bytes]]
) -> None:
    for model in (good, with_file(good, COMBINE, b"\xff"), good, with_file(good, QUERY, b"")):
        trying.fault_of(model)

    assert len(started) == 1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    return record_processes(monkeypatch)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_what_a_model_breaks_is_not_the_next_ones_fault(
    trying: Trial, good: FoundModel, started: list[subprocess.Popen[bytes]], number: int
) -> None:
    assert trying.fault_of(good) is None
    started[0].send_signal(number)
    started[0].wait()

    assert trying.fault_of(good) is None
    assert len(started) == 2


def test_crash_is_told_where_no_other_process_can_be_started(
    trying: Trial,
    good: FoundModel,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trying.fault_of(good) is None
    monkeypatch.setattr(sys, "executable", "")
    started[0].kill()
    started[0].wait()

    assert trying.fault_of(good) == SIGNALLED.format(9)
    assert trying.fault_of(good) is None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_crash_is_told_once_it_came_alone_and_the_next_model_has_a_new_process(
    trying: Trial,
    good: FoundModel,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    monkeypatch.setattr(
        trial, "_PROGRAM", checking(f"if not files[{QUERY!r}]: os.kill(os.getpid(), {number})")
    )

    assert trying.fault_of(good) is None
    assert trying.fault_of(with_file(good, QUERY, b"")) == SIGNALLED.format(int(number))
    assert trying.fault_of(good) is None
    assert len(started) == 3


def checking(step: str, first: str = "") -> str:
    """Returns the process's program, but that a step stands for running a model."""
    return f"""
import os, sys
sys.path[:] = sys.argv[1:]
from attention_server import trial_process
{first}
def check(engine, model, files):
    {step}
trial_process.Engine.check = check
trial_process.main()
"""


def test_model_that_takes_hours_is_given_up(
    good: FoundModel, started: list[subprocess.Popen[bytes]]
) -> None:
    slow_one = with_file(good, COMBINE, slow(good.files[COMBINE]))

    with Trial(seconds=5) as trying:
        assert trying.fault_of(slow_one) == "it was not loaded and run within 5 s"
        assert started[0].returncode == -signal.SIGKILL


def test_nothing_is_left_running(good: FoundModel, started: list[subprocess.Popen[bytes]]) -> None:
    with Trial() as trying:
        trying.fault_of(good)

    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_nothing_is_started_for_nothing(started: list[subprocess.Popen[bytes]]) -> None:
    with Trial():
        pass

    assert started == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
def test_memory_is_bounded(trying: Trial, good: FoundModel) -> None:
    combine = load_model_from_string(good.files[COMBINE])
    graph = combine.graph
    graph.node[-1].output[0] = "before"
    for name, shape in {"column": (40_000, 1), "row": (1, 40_000)}.items():
        graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    graph.node.append(helper.make_node("Add", ["column", "row"], ["table"]))  # 6.4 GB
    graph.node.append(helper.make_node("ReduceSum", ["table"], ["sum"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["before", "sum"], ["output"]))

    fault = trying.fault_of(with_file(good, COMBINE, combine.SerializeToString()))

    assert re.fullmatch(r"it takes more than \d+ MiB to load and run", fault or "")
    assert trying.fault_of(good) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
def test_files_that_do_not_fit_are_refused_and_what_is_left_of_them_is_no_request(
    trying: Trial,
    good: FoundModel,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    little = "trial_process._MEMORY_BYTES, trial_process._COPIES_OF_FILES = 64 << 20, 0"
    monkeypatch.setattr(trial, "_PROGRAM", checking("pass", little))
    large = with_file(good, QUERY, bytes(1 << 28))

    assert trying.fault_of(large) == "it takes more than 64 MiB to load and run"
    assert started[0].wait(60) == 0
    assert trying.fault_of(good) is None


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("trial_process.Path.read_text", "PermissionError"),
        ("trial_process.resource.setrlimit", "ValueError"),
        ("trial_process.resource.setrlimit", "OSError"),
    ],
)
def test_where_nothing_can_be_bounded_good_models_pass(
    trying: Trial,
    good: FoundModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: str,
) -> None:
    refused = f"def refused(*_): raise {error}\n{call} = refused"
    monkeypatch.setattr(trial, "_PROGRAM", checking("pass", refused))

    assert trying.fault_of(good) is None
    assert caplog.messages == []  # it was tried


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may bound time otherwise")
def test_time_is_bounded_by_the_system_too(
    good: FoundModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = "raise trial_process.ModelUnusable(str(resource.getrlimit(resource.RLIMIT_CPU)[0]))"
    monkeypatch.setattr(trial, "_PROGRAM", checking(step, "import resource"))

    with Trial(seconds=50) as trying:
        assert 51 < int(trying.fault_of(good) or 0) < 80


def test_large_model_passes(trying: Trial, good: FoundModel) -> None:
    padded = load_model_from_string(good.files[QUERY])
    weight = np.zeros((1 << 26,), np.float32)  # 256 MiB, which nothing uses
    padded.graph.initializer.append(numpy_helper.from_array(weight, "more"))

    assert trying.fault_of(with_file(good, QUERY, padded.SerializeToString())) is None


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/true", "/dev/null"], ids=repr)
def test_where_no_process_can_be_started_graphs_are_looked_at_still(
    good: FoundModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    executable: str,
) -> None:
    monkeypatch.setattr(sys, "executable", executable)

    with Trial() as trying:
        assert trying.fault_of(good) is None
        assert trying.fault_of(with_file(good, COMBINE, b"\xff")) == "combine.onnx is not ONNX"

    (warning,) = caplog.messages
    assert warning.startswith("models are loaded without a trial")


def test_process_has_the_packages_of_this_one_and_runs_no_code_of_others(
    good: FoundModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("json", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in a notebook

    with Trial() as trying:
        assert trying.fault_of(good) is None

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("misdeed", "fault"),
    [
        ("print('null')", None),
        ("os.write(1, b'null')", None),
        ("os._exit(3)", "the process that tried it ended (status 3)"),
        ("raise RuntimeError", "the process that tried it ended (status 1)"),
    ],
)
def test_what_a_library_does_besides_is_no_answer(
    trying: Trial,
    good: FoundModel,
    monkeypatch: pytest.MonkeyPatch,
    misdeed: str,
    fault: str | None,
) -> None:
    monkeypatch.setattr(trial, "_PROGRAM", checking(misdeed))

    assert trying.fault_of(good) == fault
    assert trying.fault_of(good) == fault, "the answers are out of step"
