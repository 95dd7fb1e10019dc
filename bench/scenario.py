"""What a scenario is: contenders that are measured in turn, and the bars that ours should reach."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.models import layer, model_file
from bench.servers import Server, attention_server, started
from bench.worker import Figures, Make, Worker

__all__ = ["Bar", "Contenders", "Form", "Place", "Scenario"]

Contenders = Mapping[str, Callable[[], Figures]]
"""By name, what measures one round of each."""
T = TypeVar("T")


@dataclass(frozen=True)
class Form:
    """How long everything takes."""

    rounds: int
    """Rounds that count; one more comes before them."""
    slow_rounds: int
    """The same of a scenario whose rounds take seconds whatever the form."""
    seconds: float
    """Of one round, and one call at least."""
    memory_seconds: float
    """Of watching memory."""
    full: bool
    """Whether there is time for all of it."""


@dataclass(frozen=True)
class Bar:
    """What one figure should be beside another, or by itself."""

    target: int
    """Number in docs/performance.md; 0 for what shows something and need not be reached."""
    says: str
    ours: tuple[str, str]
    """Contender and figure."""
    theirs: tuple[str, str] | None
    """Contender and figure that ours is divided by, round by round; None for nothing."""
    at_most: float | None = None
    at_least: float | None = None
    judged_by: Literal["median", "bound"] = "median"
    """The median of the rounds, or the end of its 95 % interval that is kinder: missed only where
    that much is sure."""
    unit: str = "x"

    @property
    def limited(self) -> bool:
        """Whether there is anything to reach."""
        return self.at_most is not None or self.at_least is not None


@dataclass
class Place:
    """Where a scenario sets up its servers and processes; all end with it."""

    models: Path
    form: Form
    stack: ExitStack
    notes: list[str] = field(default_factory=list)
    """What a reader must know to judge the figures."""
    _workers: list[Worker] = field(default_factory=list)

    def layer(self, width: int) -> str:
        """Returns the name of a layer of that width among the models."""
        return layer(self.models, width)

    def model_file(self, width: int) -> Path:
        """Returns the same layer as one ONNX file."""
        return model_file(self.models, width)

    def server(self, *widths: int, flags: Sequence[str] = ()) -> Server:
        """Starts our server, with the layers of these widths among its models."""
        for width in widths:
            self.layer(width)
        return self.enter(attention_server(self.models, *flags))

    def echo(self, kind: str) -> Server:
        """Starts a server that echoes, "sync" or "aio"."""
        return self._program("bench.echo_server", kind)

    def plain(self, width: int, threads: int) -> Server:
        """Starts the plain server with the layer of that width."""
        model, size = str(self.model_file(width)), ("--width", str(width))
        return self._program("bench.plain_server", model, *size, "--threads", str(threads))

    def worker(self, make: Make, *arguments: Any, **keywords: Any) -> Worker:
        """Starts a process that measures."""
        worker = Worker(make, *arguments, **keywords)
        self.stack.callback(worker.close)
        self._workers.append(worker)
        return worker

    def _program(self, module: str, *arguments: str) -> Server:
        return self.enter(started([sys.executable, "-m", module, *arguments]))

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Enters what shall end with the scenario."""
        return self.stack.enter_context(context)

    def wait(self) -> None:
        """Waits for all processes that measure to be set up, so that none disturbs a round."""
        while self._workers:
            self._workers.pop().wait_until_ready()


@dataclass(frozen=True)
class Scenario:
    """One question, and who is asked."""

    name: str
    """What it is called on the command line."""
    title: str
    """What it measures, in a line."""
    bars: tuple[Bar, ...]
    contenders: Callable[[Place], Contenders]
    """Sets up; may raise Unavailable where the scenario cannot be run."""
    rounds: int | None = None
    """Rounds that count, whatever the form."""
    slow: bool = False
    """Whether a round takes seconds, whatever the form."""
    optional: bool = False
    """Whether it runs only where it is asked for by name."""
    full_only: bool = False
    """Whether the short form leaves it out, where it is not asked for by name."""
    warms: bool = True
    """Whether a round comes before those that count."""

    def rounds_in(self, form: Form) -> int:
        """Returns how many rounds count."""
        return self.rounds or (form.slow_rounds if self.slow else form.rounds)
