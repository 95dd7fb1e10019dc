"""A measuring program in another environment, that speaks JSON over its pipes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.worker import Figures, Unavailable

__all__ = ["Asking", "asking"]


class Asking:
    """Measures a round whenever it is called."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **keywords: Any) -> Figures:
        """Measures one round.

        Raises:
            Unavailable: The program ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(keywords) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Figures:
        """Returns what it says next.

        Raises:
            Unavailable: The program ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable("the program that asks it ended")
        figures: Figures = json.loads(line)
        return figures


@contextmanager
def asking(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Asking]:
    """Starts the program, waits until it is ready, and ends it in the end."""
    process = subprocess.Popen(  # noqa: S603  # our own programs
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        program = Asking(process)
        program.answer()
        yield program
    finally:
        process.kill()
        process.communicate()
