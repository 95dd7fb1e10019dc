"""How far an export has come: a bar on a terminal, a line a layer elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from attention_export.cli.printable import printable

__all__ = ["Reporter", "progress"]


class Reporter(Protocol):
    """Is told what happens."""

    def layer(self, name: str) -> None:
        """A layer begins."""
        ...

    def step(self, text: str) -> None:
        """A step of the layer begins."""
        ...


@contextmanager
def progress(layers: int, steps: int) -> Iterator[Reporter]:
    """Shows progress on standard error.

    Args:
        layers: How many will begin.
        steps: Steps of each, at most.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(layers)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, bar.add_task("", total=layers * steps), steps)


class _Bar:
    def __init__(self, bar: Progress, task: TaskID, steps: int) -> None:
        self._bar = bar
        self._task = task
        self._steps = steps
        self._layers_begun = 0
        self._name = ""
        self._done = 0

    def layer(self, name: str) -> None:
        self._name = printable(name)
        self._done = self._layers_begun * self._steps
        self._layers_begun += 1

    def step(self, text: str) -> None:
        self._bar.update(self._task, description=f"{self._name}: {text}", completed=self._done)
        self._done += 1


class _Lines:
    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._begun = 0

    def layer(self, name: str) -> None:
        self._begun += 1
        print(f"[{self._begun}/{self._layers}] {printable(name)}", file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        pass
