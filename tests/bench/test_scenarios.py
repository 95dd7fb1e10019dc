"""Every scenario runs, in a form so small that its figures say nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from bench import command, report
from bench.runner import Outcome, run
from bench.scenario import Form, Scenario
from bench.scenarios import SCENARIOS
from bench.scenarios.heads import heads
from bench.scenarios.long_memory import long_memory
from bench.scenarios.long_sequences import long_sequences
from bench.scenarios.pipelined import pipelined
from bench.scenarios.weights import one_row

TINY = Form(rounds=2, slow_rounds=2, seconds=0.02, memory_seconds=1.0, full=False)
SHORTER = {
    each.name: each
    for each in (heads(64), long_sequences(64), long_memory(128), one_row(64), pipelined(50))
}
"""Those that take long because their sequences are long."""
NAMES = [each.name for each in SCENARIOS]
SAME_BUT_FOR_NUMBERS = {"layer-512", "callers-128", "batching-16-128", "batching-1-16"}
OPTIONAL = {each.name for each in SCENARIOS if each.optional}
"""What needs environments of its own, and a network to make them."""


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scenarios keep the layers that they export."""
    return tmp_path_factory.mktemp("layers")


def tiny(name: str) -> Scenario:
    return SHORTER.get(name) or next(each for each in SCENARIOS if each.name == name)


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_every_target_has_a_bar() -> None:
    assert {bar.target for each in SCENARIOS for bar in each.bars} == {0, *range(1, 10)}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in SAME_BUT_FOR_NUMBERS | OPTIONAL]
)
def test_a_scenario_measures_all_that_its_bars_need(name: str, layers: Path) -> None:
    scenario = tiny(name)
    outcome = run(scenario, layers, TINY)
    assert not outcome.failed, outcome.notes
    assert {len(rounds) for rounds in outcome.rounds.values()} == {scenario.rounds_in(TINY)}
    record = json.loads(json.dumps(report.record(scenario, outcome)))
    figures = [figure for each in record["contenders"].values() for figure in each.values()]
    assert figures
    assert all(map(math.isfinite, (value for each in figures for value in each["rounds"])))
    bars = {bar.says for bar in scenario.bars} - {bar["says"] for bar in record["bars"]}
    assert bars == LEFT_OUT.get(name, set())


LEFT_OUT = {
    "callers-16": {"4 to 16 tokens, Poisson at 80%: p99 / plain server"},
    # A few seconds say nothing about growth.
    "memory": {"growth after warm-up"},
    # The short form leaves out what takes longest.
    "long-memory": {
        f"128 tokens, {mask}: peak above the tensors"
        for mask in ("key mask", "window", "lengths", "pair by pair")
    },
}


def test_the_command_writes_figures_and_a_picture(
    tmp_path: Path, layers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SCENARIOS", (tiny("weights-all"),))
    monkeypatch.setattr(command, "SHORT", TINY)
    command.main(["weights-all", "--models", str(layers), "--out", str(tmp_path)])
    written = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert list(written["scenarios"]) == ["weights-all"]
    assert written["machine"]["cores"] >= 1
    bars = written["scenarios"]["weights-all"]["bars"]
    assert [bar["met"] for bar in bars] in ([True], [False])
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert "no scenario is called 'nothing'; --help names them" in capsys.readouterr().err


def test_a_table_says_what_was_measured_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [{"ms": 2.0, "compute_ms": 1.0, "beside_ms": each} for each in (0.9, 1.0, 1.1)]
    echo = "stream echo, aio server"
    outcome = Outcome({"served": rounds, echo: [{"ms": 0.5}] * 3}, ["A note."], 1.0, failed=False)
    report.show(Console(width=80, highlight=False), tiny("overhead"), outcome)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "1.00 ±5%" in said
    assert "missed: 2 x, bar at most 1.3 x (1.80 to 2.20)" in " ".join(said.split())
    assert "A note." in said
