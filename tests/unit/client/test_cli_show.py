"""``attention attend ... --show``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from attention_client.cli import main
from attention_server import EmbeddedServer

SENTENCE = "天气真好"

Run = Callable[..., int]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with EmbeddedServer() as server:
        yield server.address


@pytest.fixture
def attend(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``attention attend sdpa`` with 3 heads over 2 sequences of 4."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    query = np.random.default_rng(0).standard_normal((2, 4, 12), np.float32)
    np.save("q.npy", query)

    def run(*arguments: str) -> int:
        asked = ("attend", "sdpa", "--server", address, "--query", "q.npy", "--num-heads", "3")
        return main([*asked, *arguments])

    return run


def test_bars_of_the_last_query_and_all_heads_follow_the_facts(
    attend: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attend("--show", "--tokens", SENTENCE, "--causal", "lower_right") == 0

    out = capsys.readouterr().out
    assert "model              sdpa, version 1" in out
    assert "query 3 好 attends to" in out
    assert all(f"head {head}" in out for head in range(3))
    assert f"   {SENTENCE}   {SENTENCE}   {SENTENCE}\n" in out
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())


def test_queries_heads_and_sequence_can_be_chosen(
    attend: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--weights-heads", "2", "--weights-queries", "3,0", "--kv-lengths", "4,4")

    assert attend(*chosen, "--show=0,3", "--sequence", "1") == 0

    out = capsys.readouterr().out
    assert out.index("query 0 attends to") < out.index("query 3 attends to")
    assert "head 2" in out
    assert "head 0" not in out


@pytest.mark.parametrize(
    ("text", "names"),
    [("a bc d e", ["a", "bc", "d", "e"]), ("abcd", ["a", "b", "c", "d"])],
    ids=["words", "characters"],
)
def test_tokens_are_words_or_characters(
    attend: Run, capsys: pytest.CaptureFixture[str], text: str, names: list[str]
) -> None:
    assert attend("--show", "--tokens", text) == 0

    out = capsys.readouterr().out
    assert all(f"{place} {name} " in out for place, name in enumerate(names))


def test_tokens_may_lie_in_a_file_one_a_line(
    attend: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tokens.txt").write_text("New York\n天气\n,\n\n", encoding="utf-8")

    assert attend("--show", "--tokens", "tokens.txt") == 0

    assert "0 New York " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--show", "--top-k", "2"), "--show needs all weights of a row: leave --top-k out"),
        (("--show=4",), "--show: no weights of query 4; the last is 3"),
        (("--show=-5",), "--show: no weights of query -5"),
        (("--show", "--sequence", "2"), "--sequence: must be 0, 1, not 2"),
        (("--show", "--tokens", "abc"), "--tokens: must be 4, one for each place, not 3"),
        (("--show", "--tokens", "abcd", "--key-tokens", "ab"), "--key-tokens: must be 4"),
        (("--show", "--tokens", "q.npy"), "q.npy: no text in UTF-8"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_exit_code_1(
    attend: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert attend(*arguments) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"attention: {says}")
    assert error.count("\n") == 1


def test_without_the_extra_one_line_says_what_to_install_before_anything_is_asked(
    attend: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("attention_client.viz.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("rich.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    assert attend("--show", "--server", "127.0.0.1:1") == 1

    assert capsys.readouterr().err == (
        "attention: pictures in the terminal need rich: pip install 'attention-service[viz]'\n"
    )
