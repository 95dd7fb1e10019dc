from __future__ import annotations

import pytest

from attention_client.viz.labels import columns, label, step_of


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("玩", "玩"),
        ("Ġout", "Ġout"),
        (" the ", "␣the␣"),
        ("new york", "new york"),
        (" ", "␣"),
        ("a\nb\t", "a↵b⇥"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),  # turns the direction of what follows
        ("", ""),
        ("internationalization", "international…"),
        ("今天天气真好我想出去玩", "今天天气真好…"),
    ],
)
def test_a_token_is_shown_on_one_line_with_nothing_unseen(token: str, shown: str) -> None:
    assert label(token) == shown
    assert columns(label(token)) <= 14


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("天气", 4), ("，", 2), ("e\u0301", 1)])
def test_columns_are_those_of_a_terminal(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("least", "step"), [(0.2, 1), (1.1, 2), (3, 5), (5, 5), (21, 50), (900, 1000)]
)
def test_steps_are_round(least: float, step: int) -> None:
    assert step_of(least) == step
