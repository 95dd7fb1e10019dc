"""How contenders take turns, and what is said of a bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.runner import Outcome, run
from bench.scenario import Bar, Contenders, Form, Place, Scenario
from bench.verdict import verdict
from bench.worker import Figures, Unavailable, WorkerFailed

FORM = Form(rounds=3, slow_rounds=1, seconds=0.01, memory_seconds=0.1, full=False)
SAME_ROUNDS = [{"ms": 2.0}, {"ms": 2.0}, {"ms": 2.0}]


def scenario(contenders: Callable[[Place], Contenders], **keywords: object) -> Scenario:
    return Scenario("name", "title", (), contenders, **keywords)  # type: ignore[arg-type]


def contender(turns: list[str], name: str) -> Callable[[], Figures]:
    def measure() -> Figures:
        turns.append(name)
        return {"ms": float(len(turns))}

    return measure


def test_contenders_take_turns_and_none_is_always_first(tmp_path: Path) -> None:
    turns: list[str] = []
    named = {name: contender(turns, name) for name in "abc"}
    outcome = run(scenario(lambda place: named), tmp_path, FORM)
    assert turns == [*"abc", *"bca", *"cab", *"abc"]
    # The first round warms them and does not count.
    assert [figures["ms"] for figures in outcome.rounds["a"]] == [6.0, 8.0, 10.0]


def test_a_slow_scenario_has_the_rounds_of_slow_ones(tmp_path: Path) -> None:
    turns: list[str] = []
    run(scenario(lambda place: {"a": contender(turns, "a")}, slow=True), tmp_path, FORM)
    assert len(turns) == 1 + FORM.slow_rounds


@pytest.mark.parametrize(
    ("reason", "note", "failed"),
    [
        (Unavailable("it is too large"), "a cannot take part: it is too large.", False),
        (WorkerFailed("Traceback\n  at\nIt broke\n"), "a failed: It broke", True),
    ],
)
def test_the_others_go_on_without_one_who_cannot(
    tmp_path: Path, reason: Exception, note: str, failed: bool
) -> None:
    def leaves() -> Figures:
        raise reason

    others: list[str] = []
    named = {"a": leaves, "b": contender(others, "b")}
    outcome = run(scenario(lambda place: named), tmp_path, FORM)
    assert set(outcome.rounds) == {"b"}
    assert len(others) == 4
    assert note in outcome.notes
    assert outcome.failed is failed


def test_a_scenario_that_cannot_be_set_up_says_so(tmp_path: Path) -> None:
    def contenders(place: Place) -> Contenders:
        raise Unavailable("there is no such flag")

    outcome = run(scenario(contenders), tmp_path, FORM)
    assert "This cannot take part: there is no such flag." in outcome.notes
    assert not outcome.rounds


OURS, THEIRS = ("ours", "ms"), ("theirs", "ms")


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        (Bar(1, "", OURS, THEIRS, at_most=0.6), "met: 0.5 x, bar at most 0.6 x"),
        (Bar(1, "", OURS, THEIRS, at_most=0.4), "missed: 0.5 x, bar at most 0.4 x"),
        (Bar(1, "", OURS, THEIRS, at_least=0.4), "met: 0.5 x, bar at least 0.4 x"),
        (Bar(1, "", OURS, THEIRS, at_least=0.6), "missed: 0.5 x, bar at least 0.6 x"),
        (Bar(1, "", OURS, None, at_most=2.5, unit="MiB"), "met: 2 MiB, bar at most 2.5 MiB"),
        (Bar(0, "", OURS, THEIRS), "0.5 x"),
    ],
)
def test_what_came_of_a_bar_is_said_plainly(bar: Bar, words: str) -> None:
    outcome = Outcome({"ours": SAME_ROUNDS, "theirs": [{"ms": 4.0}] * 3}, [], 0.0, failed=False)
    came_of_it = verdict(bar, outcome)
    assert came_of_it is not None
    assert came_of_it.words == words


@pytest.mark.parametrize(
    ("values", "met"),
    [([0.9, 0.95, 1.02, 0.94, 0.96], True), ([0.9, 0.91, 0.92, 0.9, 0.89], False)],
)
def test_a_bar_judged_by_the_bound_is_missed_only_where_it_is_sure(
    values: list[float], met: bool
) -> None:
    rounds = {"ours": [{"ms": value} for value in values], "theirs": [{"ms": 1.0}] * 5}
    bar = Bar(4, "", OURS, THEIRS, at_least=0.97, judged_by="bound")
    came_of_it = verdict(bar, Outcome(rounds, [], 0.0, failed=False))
    assert came_of_it is not None
    assert came_of_it.met is met


@pytest.mark.parametrize("rounds", [{"ours": SAME_ROUNDS}, {"ours": SAME_ROUNDS, "theirs": [{}]}])
def test_nothing_is_said_of_a_bar_without_its_figures(rounds: dict[str, list[Figures]]) -> None:
    assert verdict(Bar(1, "", OURS, THEIRS), Outcome(rounds, [], 0.0, failed=False)) is None
