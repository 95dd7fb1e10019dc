"""Models changed at random: each works or is refused, and nothing else comes of loading it.

They are others on each run: its seed stands at the head of pytest's output.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from attention_server.models.repository import FoundModel, find_models
from attention_server.trial import Trial
from tests.integration.mutants import mutant
from tests.processes import record_processes

MUTANTS = 2000
WORKERS = 2
MOST_MEBIBYTES_MORE = 128  # than a good model takes

STAGES = ("project_query.onnx", "project_key_value.onnx", "combine.onnx")
UNANSWERED = ("the process that tried it ended", "it was not loaded and run within")


class Run(NamedTuple):
    faults: dict[int, str | None]
    """By the number of the mutant: why it is refused."""
    processes: int
    mebibytes_more: int
    """Most memory that a process held, beside what it held after a good model."""
    written: list[str]
    """Names of the files in the directory in which it all happened."""


@pytest.fixture(scope="module")
def run(
    models: Path, tmp_path_factory: pytest.TempPathFactory, fuzz_seed: int, fuzz_times: int
) -> Run:
    """Every mutant, each tried as the server does before it serves a model."""
    here = tmp_path_factory.mktemp("here")
    good = next(iter(find_models([models])))
    assert isinstance(good, FoundModel)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(here)
        started = record_processes(monkeypatch)
        with ThreadPoolExecutor(WORKERS) as threads, Trial() as first, Trial() as second:
            trials = (first, second)
            for trial in trials:
                assert trial.fault_of(good) is None
            before = {process.pid: peak_mebibytes(process.pid) for process in started}
            faults: dict[int, str | None] = {}
            parts = [range(first, MUTANTS * fuzz_times, WORKERS) for first in range(WORKERS)]
            for some in threads.map(partial(try_mutants, good, fuzz_seed), trials, parts):
                faults |= some
            more = [peak_mebibytes(pid) - mebibytes for pid, mebibytes in before.items()]
    return Run(faults, len(started), max(more), [file.name for file in here.iterdir()])


def try_mutants(
    good: FoundModel, seed: int, trial: Trial, indices: Iterable[int]
) -> dict[int, str | None]:
    stages = {name: good.files[name] for name in STAGES}
    faults = {}
    for index in indices:
        name, content = mutant(stages, seed, index)
        faults[index] = trial.fault_of(changed(good, name, content))
    return faults


def changed(model: FoundModel, name: str, content: bytes) -> FoundModel:
    """Returns the model with another file and its digest."""
    digests = {**model.manifest.files, name: hashlib.sha256(content).hexdigest()}
    return FoundModel(
        model.directory,
        replace(model.manifest, files=digests),
        {**model.files, name: content},
    )


def peak_mebibytes(pid: int) -> int:
    """Returns the most memory that a process held; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    kibibytes = [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
    return sum(kibibytes) >> 10


def test_no_mutant_ends_or_holds_up_who_loads_it(run: Run, fuzz_seed: int) -> None:
    unanswered = {
        index: fault
        for index, fault in run.faults.items()
        if fault and fault.startswith(UNANSWERED)
    }

    assert unanswered == {}, f"--fuzz-seed={fuzz_seed}"
    assert run.processes == WORKERS


def test_mutants_are_refused_in_every_way_and_some_work(run: Run, fuzz_times: int) -> None:
    assert len(run.faults) == MUTANTS * fuzz_times
    kinds = Counter(kind_of(fault) for fault in run.faults.values())

    assert all(count > len(run.faults) // 100 for count in kinds.values()), kinds
    assert len(kinds) == 4, kinds


def kind_of(fault: str | None) -> str:
    if fault is None:
        return "works"
    if fault.endswith("is not ONNX"):
        return "not ONNX"
    if fault.startswith(STAGES):
        return "refused for what the file holds"
    return "refused by ONNX Runtime or for its sizes"


def test_every_refusal_is_a_line_without_a_path(run: Run) -> None:
    for index, fault in run.faults.items():
        if fault is not None:
            assert fault.isprintable(), index
            assert len(fault) < 400, index
            assert ".cc:" not in fault, index


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_no_mutant_takes_much_memory(run: Run, fuzz_seed: int) -> None:
    assert run.mebibytes_more < MOST_MEBIBYTES_MORE, f"--fuzz-seed={fuzz_seed}"


def test_no_mutant_writes_a_file(run: Run) -> None:
    assert run.written == []
