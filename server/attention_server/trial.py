"""Models tried in a process of their own first: what one does to it costs the server nothing."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import IO

from attention_server.models.graph import fault_in
from attention_server.models.repository import FoundModel

__all__ = ["READY", "Trial"]

_log = logging.getLogger(__name__)

READY = b"ready\n"
"""What the process says once it can try models."""
_LONGEST_ANSWER = 4096
# Neither the current directory nor PYTHON* variables count, but where this process has its
# packages from does.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[1:]
from attention_server.trial_process import main
main()
"""


class Trial:
    """Tries models while its ``with`` block runs, in a process that the first of them starts.

    Args:
        seconds: Time for a model to be loaded and run.
    """

    def __init__(self, *, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._process: _Process | None = None
        self._possible = True

    def fault_of(self, found: FoundModel) -> str | None:
        """Returns why a model cannot be served; None where it can.

        Where no process can be started the graphs are looked at, but not run.
        """
        fault = None
        if self._process is not None:
            try:
                return self._process.ask(found)
            except _Ended as ended:
                fault = str(ended)
                self._end()  # what a model before broke may show only now: once more, alone
        self._start()
        if self._process is None:
            return fault or fault_in(found.files)
        try:
            return self._process.ask(found)
        except _Ended as ended:
            self._end()
            return str(ended)

    def _start(self) -> None:
        try:
            if self._possible:
                self._process = _Process(self._seconds)
        except _CannotStart:
            self._possible = False
            _log.warning("models are loaded without a trial: Python cannot be started once more")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def __enter__(self) -> Trial:
        """Starts nothing yet: there may be nothing to try."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self._end()


class _CannotStart(Exception):
    """No Python that answers."""


class _Ended(Exception):
    """The process ended before it answered; the message says so of the model."""


class _Process:
    """A Python that runs ``trial_process``.

    A model is written to it as a line of JSON and the files; it answers with a line of JSON.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        if not sys.executable:  # a Python inside another program
            raise _CannotStart
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, our own program
                [sys.executable, "-I", "-c", _PROGRAM, *filter(None, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            raise _CannotStart from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        try:
            with self._deadline():
                ready = self._answers.readline(_LONGEST_ANSWER)
        except _Ended:
            ready = b""
        if ready != READY:
            self.end()
            raise _CannotStart

    def ask(self, found: FoundModel) -> str | None:
        """Returns what the process says of a model.

        Raises:
            _Ended: It says nothing, and tries no other.
        """
        about = {
            "manifest": found.manifest.to_json(),
            "sizes": {name: len(content) for name, content in found.files.items()},
            "seconds": math.ceil(self._seconds),
        }
        with self._deadline():
            try:
                self._requests.write(json.dumps(about).encode() + b"\n")
                for content in found.files.values():
                    self._requests.write(content)
                self._requests.flush()
            except BrokenPipeError:
                pass  # no answer will come either
            answer = self._answers.readline(_LONGEST_ANSWER)
        if not answer.endswith(b"\n"):
            status = self._process.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise _Ended(f"the process that tried it ended ({how})")
        fault: str | None = json.loads(answer)
        return fault

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):  # it may hold what was never read
            self._requests.close()

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        """Kills the process where the block takes too long."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
        if late.is_set():
            raise _Ended(f"it was not loaded and run within {self._seconds:g} s")
