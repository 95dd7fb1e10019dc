"""Runs coroutines in the thread that wants their results: many at once, without an event loop."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

__all__ = ["Turn", "Turns", "Waiting", "result_of"]

ResultT = TypeVar("ResultT")
OutcomeT = TypeVar("OutcomeT")

_LONGEST_WAIT_SECONDS = 0.2
"""A thread that waits for longer at a time may not hear of Ctrl-C before."""


class Waiting(Generic[OutcomeT]):
    """What a coroutine awaits: an outcome that somebody settles, or None when its time is over.

    Args:
        begin: Begins what calls the function that it is given, once and in any thread.
        seconds: Time that it has.
    """

    def __init__(self, begin: Callable[[Callable[[OutcomeT], None]], None], seconds: float) -> None:
        self.begin = begin
        self.until = time.monotonic() + seconds

    def __await__(self) -> Generator[Waiting[OutcomeT], OutcomeT | None, OutcomeT | None]:
        return (yield self)


class Turn(Generic[ResultT]):
    """A coroutine on its way to a result."""

    def __init__(self, coroutine: Coroutine[Any, Any, ResultT]) -> None:
        self.coroutine = coroutine
        self.waiting: Waiting[Any] | None = None
        self.result: ResultT
        self.error: Exception | None = None
        self.is_done = False


class Turns(Generic[ResultT]):
    """Coroutines that wait for nothing but ``Waiting``, and run whenever one is settled."""

    def __init__(self) -> None:
        self._settled: queue.SimpleQueue[tuple[Turn[ResultT], Waiting[Any], Any]] = (
            queue.SimpleQueue()
        )
        self._under_way: set[Turn[ResultT]] = set()

    def start(self, coroutine: Coroutine[Any, Any, ResultT]) -> Turn[ResultT]:
        """Runs a coroutine until it waits, or is done."""
        turn = Turn(coroutine)
        self._under_way.add(turn)
        self._run(turn, None)
        return turn

    def result(self, turn: Turn[ResultT]) -> ResultT:
        """Runs what can run until this one is done, and returns its result or raises its error."""
        while not turn.is_done:
            self._run_next()
        if turn.error is not None:
            raise turn.error
        return turn.result

    def abandon(self) -> None:
        """Ends the coroutines that are not done, where they wait."""
        while self._under_way:
            self._under_way.pop().coroutine.close()

    def _run_next(self) -> None:
        """Runs what was settled, else what has waited long enough."""
        try:
            turn, waiting, outcome = self._settled.get_nowait()
        except queue.Empty:
            until = min(turn.waiting.until for turn in self._under_way if turn.waiting)
            left = min(max(0.0, until - time.monotonic()), _LONGEST_WAIT_SECONDS)
            try:
                turn, waiting, outcome = self._settled.get(timeout=left)
            except queue.Empty:
                self._run_late()
                return
        if turn.waiting is waiting:  # else its time was over before it was settled
            self._run(turn, outcome)

    def _run_late(self) -> None:
        """Runs what has waited long enough."""
        now = time.monotonic()
        for turn in list(self._under_way):
            if turn.waiting is not None and turn.waiting.until <= now:
                self._run(turn, None)

    def _run(self, turn: Turn[ResultT], outcome: Any) -> None:
        """Runs a coroutine until it waits again, or is done."""
        turn.waiting = None
        resume: Callable[[], Any] = partial(turn.coroutine.send, outcome)
        while turn.waiting is None and not turn.is_done:
            try:
                waiting = resume()
            except StopIteration as end:
                turn.result = end.value
                turn.is_done = True
            except Exception as error:  # noqa: BLE001  # raised where the result is wanted
                turn.error = error
                turn.is_done = True
            else:
                try:
                    waiting.begin(partial(self._settle, turn, waiting))
                    turn.waiting = waiting
                except Exception as error:  # noqa: BLE001  # as if raised where it is awaited
                    resume = partial(turn.coroutine.throw, error)
        if turn.is_done:
            self._under_way.discard(turn)

    def _settle(self, turn: Turn[ResultT], waiting: Waiting[Any], outcome: Any) -> None:
        self._settled.put((turn, waiting, outcome))


def result_of(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Returns the result of one coroutine."""
    turns: Turns[ResultT] = Turns()
    try:
        return turns.result(turns.start(coroutine))
    finally:
        turns.abandon()
