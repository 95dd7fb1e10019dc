"""Servers as processes of their own: ours, the plain one, the echo."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.worker import Unavailable

__all__ = ["Server", "attention_server", "started"]

_SERVES = re.compile(r" on (\S+) \(")  # as our server says it, and so the others do too
_PATIENCE = 60.0  # seconds to start
_STOPPING = 10.0  # seconds to stop


@dataclass(frozen=True)
class Server:
    """A server that serves."""

    address: str
    pid: int


@contextmanager
def attention_server(models: Path, *flags: str) -> Iterator[Server]:
    """Starts ``python -m attention_server`` on a free port, and stops it in the end.

    Raises:
        Unavailable: It did not start.
    """
    command = [sys.executable, "-m", "attention_server", "--listen", "127.0.0.1:0"]
    with started([*command, "--models", str(models), "--no-demo", *flags]) as server:
        yield server


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Starts a server that says on stderr where it serves, and stops it in the end.

    Raises:
        Unavailable: It did not start.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603  # our own programs
            command, stdout=subprocess.DEVNULL, stderr=log, env=environment
        )
        try:
            yield Server(_address(process, Path(f"/dev/fd/{log.fileno()}")), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        said = log.read_text()
        if found := _SERVES.search(said):
            return found[1]
        if ended:
            last = said.strip().rpartition("\n")[2]
            raise Unavailable(f"a server did not start: {last}")
        time.sleep(0.02)
    raise Unavailable(f"a server did not start within {_PATIENCE:.0f} s")
