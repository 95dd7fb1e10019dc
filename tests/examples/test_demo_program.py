"""``python -m examples.demo``: what it shows, and that a check which fails ends it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import examples.demo
from attention_client import AttendResult, AttentionClient
from attention_client.explore.characters import CharacterEmbedding
from attention_server import EmbeddedServer
from examples.demo.__main__ import ASKING, LAST, MIDDLE, SENTENCE, SHORTER
from examples.demo.report import Report
from tests.integration.programs import PATIENCE_SECONDS, environment

DEMO = Path(examples.demo.__path__[0])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "folder" / "attention.png"


@pytest.fixture(scope="module")
def row(picture: Path) -> Path:
    return picture.parents[1] / "another" / "row.svg"


@pytest.fixture(scope="module")
def shown(picture: Path, row: Path) -> str:
    """What the demo writes to a terminal of 80 columns."""
    # A character without a glyph is a warning of matplotlib's, and with this an error.
    pictures = ("--picture", str(picture), "--row", str(row))
    command = (sys.executable, "-W", "error", "-m", "examples.demo", *pictures)
    demo = subprocess.run(
        command,
        cwd=DEMO.parents[1],
        env={**environment(), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    return demo.stdout


def test_demo_shows_its_five_parts(shown: str) -> None:
    titles = re.findall(r"^([1-9])  (.*?) ─", shown, re.MULTILINE)

    assert titles == [
        ("1", f"What 玩 attends to in {SENTENCE}"),
        ("2", "气 with and without the causal mask, in per cent"),
        ("3", f"One padded batch: {SENTENCE} and {SHORTER}"),
        ("4", f"Cross-attention: {ASKING} looks at {SENTENCE}"),
        ("5", "All heads as pictures"),
    ]


@pytest.mark.parametrize(
    "claim",
    [
        "scale · (q · k) in float64 gives the scores",
        "all 48 rows of weights sum to 1",  # 4 heads, 12 characters
        "the mean of the heads in float64 is the mean served",
        "weights @ values in float64 gives the head outputs",
        "the weight on every later character is exactly 0",
        "the weight on padding is exactly 0; its sum is 0.0",
        f"{SHORTER} alone has the same output",
        "all 24 rows of weights sum to 1",  # 4 heads, 6 characters
    ],
)
def test_demo_checks_what_it_claims(shown: str, claim: str) -> None:
    assert f"✓ {claim}" in shown


def test_no_check_fails(shown: str) -> None:
    assert "✗" not in shown


def test_every_column_of_weights_shows_its_sum(shown: str) -> None:
    sums = re.findall(r"^ +Σ +(.*)$", shown, re.MULTILINE)

    assert [line.split() for line in sums] == [["1.000000"] * 5]  # 4 heads and their mean


def test_picture_is_wide_enough_to_read(shown: str, picture: Path) -> None:
    height, width, _ = imread(picture).shape

    assert 1200 < width < 4000
    assert 500 < height < 2000


def test_picture_shows_weights_of_many_sizes(shown: str, picture: Path) -> None:
    pixels = imread(picture)[..., :3]
    blue = pixels[..., 2] - pixels[..., 0] > 0.1  # the colours of weights; ink and grounds are grey

    assert 0.05 < blue.mean() < 0.9
    assert len(np.unique(pixels[blue].round(1), axis=0)) > 10


def test_row_shows_the_weights_of_the_text(shown: str, row: Path) -> None:
    drawn = row.read_text()
    bars = re.findall(r"^ +([^Σ])  ( *[█▏▎▍▌▋▊▉]* +\d\.\d{3}.*)$", shown, re.MULTILINE)

    assert "".join(character for character, _ in bars) == SENTENCE
    texts = re.findall(r"<!-- (.*?) -->", drawn)
    cells = [text for text in texts if re.fullmatch(r"[01]\.\d\d", text)]
    assert len(cells) == 5 * len(SENTENCE)  # 4 heads and their mean
    printed = [re.findall(r"\d\.\d{3}", line) for _, line in bars]  # a line a character
    by_head = [float(line[head]) for head in range(5) for line in printed]
    np.testing.assert_allclose([float(cell) for cell in cells], by_head, atol=0.0056)
    assert f"What {SENTENCE[LAST]} attends to" in texts


class _Altered(AttentionClient):
    """Asks the server and alters what it answers."""

    def __init__(self, address: str, alter: Callable[[AttendResult], AttendResult]) -> None:
        super().__init__(address)
        self._alter = alter

    def attend(self, *arguments: Any, **options: Any) -> AttendResult:
        return self._alter(super().attend(*arguments, **options))


@pytest.fixture(scope="module")
def demo_address() -> Iterator[str]:
    with EmbeddedServer() as server:
        yield server.address


@pytest.fixture
def report(demo_address: str) -> Iterator[Callable[..., tuple[Report, io.StringIO]]]:
    """Makes a report of altered answers, and the text that it writes."""
    clients: list[_Altered] = []

    def of(alter: Callable[[AttendResult], AttendResult]) -> tuple[Report, io.StringIO]:
        clients.append(_Altered(demo_address, alter))
        text = io.StringIO()
        console = Console(file=text, width=80)
        return Report(console, clients[-1], CharacterEmbedding.load(DEMO)), text

    yield of
    for client in clients:
        client.close()


def _larger(part: str, by: float = 1e-3) -> Callable[[AttendResult], AttendResult]:
    def alter(answer: AttendResult) -> AttendResult:
        tensor = getattr(answer, part)
        return answer if tensor is None else replace(answer, **{part: tensor + np.float32(by)})

    return alter


def _larger_mean(answer: AttendResult) -> AttendResult:
    averaged = answer.weights is not None and answer.weights.shape[1] == 1
    return _larger("weights")(answer) if averaged else answer


def _three_steps(report: Report) -> None:
    report.three_steps(SENTENCE, LAST)


def _causal_mask(report: Report) -> None:
    report.causal_mask(SENTENCE, MIDDLE)


def _padded_batch(report: Report) -> None:
    report.padded_batch(SENTENCE, SHORTER)


def _cross_attention(report: Report) -> None:
    report.cross_attention(ASKING, SENTENCE)


@pytest.mark.parametrize(
    ("alter", "part", "claim"),
    [
        (_larger("scores"), _three_steps, "scale · (q · k) in float64 gives the scores"),
        (_larger("weights"), _three_steps, "all 48 rows of weights sum to 1"),
        (_larger_mean, _three_steps, "the mean of the heads in float64 is the mean served"),
        (_larger("head_outputs"), _three_steps, "weights @ values in float64 gives the head"),
        (_larger("weights", 1e-30), _causal_mask, "the weight on every later character"),
        (_larger("weights", 1e-30), _padded_batch, "the weight on padding is exactly 0"),
        (_larger("weights"), _cross_attention, "all 24 rows of weights sum to 1"),
    ],
    ids=["scores", "sums", "mean", "head outputs", "causal mask", "padding", "sums across"],
)
def test_check_that_fails_is_shown_and_ends_the_demo_with_status_1(
    report: Callable[..., tuple[Report, io.StringIO]],
    alter: Callable[[AttendResult], AttendResult],
    part: Callable[[Report], None],
    claim: str,
) -> None:
    altered, text = report(alter)

    with pytest.raises(SystemExit) as ended:
        part(altered)

    assert ended.value.code == 1
    assert f"✗ {claim}" in text.getvalue()
