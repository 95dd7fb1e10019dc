"""The project's programs as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

PATIENCE_SECONDS = 60
_SERVER = (sys.executable, "-m", "attention_server")
_SERVING = re.compile(r"serving .* on (\S+) \(\w+\)$")


def run_server(
    *arguments: str, program: str | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a server that ends by itself.

    Args:
        *arguments: Of the command line.
        program: Python to run in place of the command.
        variables: Of its environment, beside this process's own.
    """
    return subprocess.run(
        [*_command(program), *arguments],
        env={**environment(), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def environment() -> Mapping[str, str]:
    """Returns this process's environment without settings for our programs."""
    return {k: v for k, v in os.environ.items() if not k.startswith("ATTENTION_")}


class ServerProcess:
    """A server in a process of its own, from its line that says "serving" to its end.

    Args:
        *arguments: Of the command line, beside --listen.
        program: Python to run in place of the command.
    """

    def __init__(self, *arguments: str, program: str | None = None) -> None:
        started = time.monotonic()
        self.process = subprocess.Popen(
            [*_command(program), "--listen", "127.0.0.1:0", *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        """Lines that it wrote, up to now."""
        self.address = ""
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        line = self.wait_for_line(_SERVING)
        self.startup_seconds = time.monotonic() - started
        self.address = line[1]

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def wait_for_line(self, pattern: re.Pattern[str], count: int = 1) -> re.Match[str]:
        """Returns the match of the count-th line that has the pattern, once it is written."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.log if (match := pattern.search(line))]

        with self._changed:
            in_time = self._changed.wait_for(
                lambda: len(found()) >= count or self.process.poll() is not None,
                PATIENCE_SECONDS,
            )
            matches = found()
            assert in_time, "\n".join(self.log)
            assert len(matches) >= count, "\n".join(self.log)
            return matches[count - 1]

    def terminate(self) -> None:
        """Asks it to end, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def close_stdin(self) -> None:
        """Ends what it reads."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        """Returns its exit status, once all that it wrote was read."""
        status = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join()
        return status

    def _read(self, stream: Iterable[str]) -> None:
        for line in stream:
            with self._changed:
                self.log.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _command(program: str | None) -> tuple[str, ...]:
    return _SERVER if program is None else (sys.executable, "-c", program)
