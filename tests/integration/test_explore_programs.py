"""``attention explore`` and ``python -m examples.explore``, as processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attention_server import EmbeddedServer
from tests.integration.programs import PATIENCE_SECONDS, environment

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
SAID = re.compile(r"Explore attention at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends\)\n")
ATTENTION = ("-c", "import sys; from attention_client.cli import main; sys.exit(main())")


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yields the process and the page's address, which its first line says."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *command],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        said = re.fullmatch(
            r"Explore attention at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends\)\n", line
        )
        assert said, line + process.communicate(timeout=PATIENCE_SECONDS)[1]
        yield process, said[1]
    finally:
        process.kill()
        process.communicate()


def started(page: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{page}/api/start", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
        found: dict[str, object] = json.load(answer)
        return found


def check_ended(process: subprocess.Popen[str]) -> None:
    """Checks that Ctrl-C ends it, without another word."""
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, said, complaints) == (0, "", "")


def test_example_has_a_server_a_text_and_a_chosen_character() -> None:
    with running("-m", "examples.explore", "--no-browser") as (process, page):
        found = started(page)
        assert found["example"] == {"text": "今天天气真好，我想出去玩", "token": 11}
        with urllib.request.urlopen(f"{page}/api/models", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
            assert [model["name"] for model in json.load(answer)] == ["demo", "sdpa"]
        check_ended(process)


def test_command_serves_a_page_for_a_server_and_a_directory() -> None:
    with EmbeddedServer() as server:
        options = ("--server", server.address, "--text", str(DEMO), "--no-browser")
        with running(*ATTENTION, "explore", *options) as (process, page):
            found = started(page)
            assert (found["server"], found["folder"]) == (server.address, str(DEMO))
            check_ended(process)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--text", "nowhere"], "attention: nowhere: no such directory"),
        (["--port", "65536"], "attention: port 65536 of 127.0.0.1: a port is 0 to 65535"),
    ],
)
def test_command_says_what_it_cannot_do(options: list[str], why: str) -> None:
    ended = subprocess.run(
        [sys.executable, *ATTENTION, "explore", "--no-browser", *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{why}\n")


def test_without_the_extra_the_command_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['starlette'] = None\n"
        "from attention_client.cli import main; sys.exit(main(['explore', '--no-browser']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("attention: ")
    assert ended.stderr.endswith("pip install 'attention-service[explore]'\n")
    assert ended.stderr.count("\n") == 1
