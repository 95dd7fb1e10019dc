"""docs/pictures.md: its programs run, and draw what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from attention_client import AttentionClient
from attention_client.cli import main
from attention_client.explore.characters import CharacterEmbedding
from attention_server import EmbeddedServer

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for of, text in fenced if of == kind]


def test_programs_of_the_page_draw_their_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: AttentionClient
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    row, heads, *_ = blocks("python")
    names = {"__name__": "page"}

    exec(row, names)  # noqa: S102  # ours
    exec(heads, names | {"client": client})  # noqa: S102

    assert {path.name for path in tmp_path.glob("*.*")} == {"row.png", "heads.pdf", "head3.svg"}
    assert imread("row.png").shape[1] > imread("row.png").shape[0]


def test_the_terminal_shows_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks("")
    (place,) = (place for place, block in enumerate(commands) if "--show" in block)
    command, shown = commands[place : place + 2]
    embedding = CharacterEmbedding.load(ROOT / "examples" / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    np.save("x.npy", embedding.embed("今天天气真好，我想出去玩")[0])

    with EmbeddedServer() as server:
        assert main([*command.split()[1:], "--server", server.address]) == 0

    out = capsys.readouterr().out.splitlines()
    said = [line for line in shown.splitlines() if line.strip() != "…"]
    assert len(said) > 10
    assert [line for line in said if line not in out] == []


@pytest.mark.parametrize("picture", sorted(set(re.findall(r"\]\(([\w-]+\.png)\)", PAGE))))
def test_pictures_of_the_page_are_there(picture: str) -> None:
    height, width, _ = imread(ROOT / "docs" / picture).shape

    assert width > 800
    assert height > 300
