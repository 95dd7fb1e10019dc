"""Runs coroutines in the thread that wants their results: many at once, without an event loop."""

from __future__ import annotations

import queue
import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from attention_client._reply import LONGEST_WAIT_SECONDS
from attention_client._stream import Outcome

__all__ = ["Turn", "Turns"]

ResultT = TypeVar("ResultT")


class Turn(Generic[ResultT]):
    """A coroutine on its way to a result."""

    def __init__(self, coroutine: Coroutine[Any, Any, ResultT]) -> None:
        self.coroutine = coroutine
        self.waiting: _Waiting | None = None
        self.result: ResultT
        self.error: Exception | None = None
        self.is_done = False


class Turns(Generic[ResultT]):
    """Coroutines that wait for nothing but a ``reply``, and run whenever one is settled."""

    def __init__(self) -> None:
        self._settled: _Settled = queue.SimpleQueue()
        self._under_way: set[Turn[ResultT]] = set()
        self._running: Turn[ResultT] | None = None

    def start(self, coroutine: Coroutine[Any, Any, ResultT]) -> Turn[ResultT]:
        """Runs a coroutine until it waits, or is done."""
        turn = Turn(coroutine)
        self._under_way.add(turn)
        self._run(turn, None)
        return turn

    def reply(self) -> _Waiting:
        """Returns a reply for the coroutine that runs."""
        assert self._running is not None  # nothing else waits here
        return _Waiting(self._running, self._settled)

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
            waiting, outcome = self._settled.get_nowait()
        except queue.Empty:
            until = min(turn.waiting.until for turn in self._under_way if turn.waiting)
            left = min(max(0.0, until - time.monotonic()), LONGEST_WAIT_SECONDS)
            try:
                waiting, outcome = self._settled.get(timeout=left)
            except queue.Empty:
                self._run_late()
                return
        if waiting.turn.waiting is waiting:  # else its time was over before it was settled
            self._run(waiting.turn, outcome)

    def _run_late(self) -> None:
        """Runs what has waited long enough."""
        now = time.monotonic()
        for turn in list(self._under_way):
            if turn.waiting is not None and turn.waiting.until <= now:
                self._run(turn, None)

    def _run(self, turn: Turn[ResultT], outcome: Outcome | None) -> None:
        """Runs a coroutine until it waits again, or is done."""
        self._running, turn.waiting = turn, None
        try:
            turn.waiting = turn.coroutine.send(outcome)
            return
        except StopIteration as end:
            turn.result = end.value
        except Exception as error:  # noqa: BLE001  # raised where the result is wanted
            turn.error = error
        turn.is_done = True
        self._under_way.discard(turn)


class _Waiting:
    """A reply for which a coroutine waits in turns."""

    def __init__(self, turn: Turn[Any], settled: _Settled) -> None:
        self.turn = turn
        self.until = 0.0
        self._settled = settled

    def __call__(self, outcome: Outcome, /) -> None:
        self._settled.put((self, outcome))

    async def outcome(self, seconds: float) -> Outcome | None:
        self.until = time.monotonic() + seconds
        return await self

    def __await__(self) -> Generator[_Waiting, Outcome | None, Outcome | None]:
        return (yield self)


_Settled = queue.SimpleQueue[tuple[_Waiting, Outcome]]
