"""Settings that make no sense: a status, one line that says what would be right, and no server."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from attention_server.cli import main
from tests.integration.programs import run_server
from tests.integration.wrong_settings import WRONG, Wrong

NOBODY = 65_534
IN_A_PROCESS_OF_THEIR_OWN = (
    "port too large",
    "address of another machine",
    "models that are a file",
    "config that is nested without end",
    "word",
    "unknown flag",
    "unknown command",
    "several at once",
)


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """What flags name."""
    modes = {"secret": 0o000, "locked": 0o000, "listed": 0o444}
    with tempfile.TemporaryDirectory() as directory:
        places = Path(directory)
        places.chmod(0o755)  # pytest's own directories are for their owner alone
        (places / "file").touch()
        (places / "secret").touch()
        for name in ("locked", "listed"):
            (places / name / "a").mkdir(parents=True)
        for name, mode in modes.items():
            (places / name).chmod(mode)
        yield places
        for name in modes:
            (places / name).chmod(0o700)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        return int(closing.getsockname()[1])


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Puts back what the command does with signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def nobody() -> Iterator[None]:
    """Makes this process one that heeds permissions, where it is root's."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def command(wrong: Wrong, places: Path, file: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Returns the arguments and the environment, of a server that would listen on this port."""
    flags = wrong.flags.replace("{}", str(places)).split()
    if wrong.file is not None:
        file.write_bytes(wrong.file)
        flags += ["--config", str(file)]
    variables = {"LISTEN": f"127.0.0.1:{port}", **wrong.variables}
    if b"listen" in (wrong.file or b""):
        del variables["LISTEN"]
    return flags, {f"ATTENTION_SERVER_{name}": value for name, value in variables.items()}


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def assert_free(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_configuration_is_a_line_and_no_server(
    wrong: Wrong,
    places: Path,
    tmp_path: Path,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    flags, variables = command(wrong, places, tmp_path / "server.toml", free_port)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = threads()

    with nobody() if wrong.as_nobody else nullcontext():
        status = main(flags)

    assert (status, *capfd.readouterr()) == (wrong.status, "", f"attention-server: {wrong.line}\n")
    assert threads() <= before
    assert_free(free_port)


@pytest.mark.parametrize("name", IN_A_PROCESS_OF_THEIR_OWN)
def test_process_with_a_wrong_configuration_ends_with_a_line(
    name: str, places: Path, tmp_path: Path, free_port: int
) -> None:
    wrong = WRONG[name]
    flags, variables = command(wrong, places, tmp_path / "server.toml", free_port)

    done = run_server(*flags, variables=variables)

    assert (done.returncode, done.stdout) == (wrong.status, "")
    assert done.stderr == f"attention-server: {wrong.line}\n"
