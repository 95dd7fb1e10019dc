"""Where the outcome of one request arrives, and how each client waits for it."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from attention_client._stream import Outcome

__all__ = ["LONGEST_WAIT_SECONDS", "AwaitedReply", "BlockingReply", "Reply", "finished"]

ResultT = TypeVar("ResultT")

LONGEST_WAIT_SECONDS = 0.2
"""A thread that waits for longer at a time may not hear of Ctrl-C before."""

_LONGEST_TIMER_SECONDS = 1e6


class Reply(Protocol):
    """Takes one outcome, for one who waits."""

    def __call__(self, outcome: Outcome, /) -> None:
        """Tells the outcome; in any thread, where the client blocks."""

    async def outcome(self, seconds: float) -> Outcome | None:
        """Returns the outcome; None where it takes longer."""


class BlockingReply:
    """A reply whose coroutine blocks its thread instead of giving way: see ``finished``.

    Nothing runs between sending and waiting, nor between the outcome and who waits for it: a call
    of 1.37 ms takes 1.28 so, against coroutines in turns, see ``_turns``.
    """

    def __init__(self) -> None:
        self._settled: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    def __call__(self, outcome: Outcome, /) -> None:
        self._settled.put(outcome)

    async def outcome(self, seconds: float) -> Outcome | None:
        until = time.monotonic() + seconds
        while seconds > 0:
            try:
                return self._settled.get(timeout=min(seconds, LONGEST_WAIT_SECONDS))
            except queue.Empty:
                seconds = until - time.monotonic()
        return None


class AwaitedReply:
    """A reply of the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Outcome | None] = self._loop.create_future()

    def __call__(self, outcome: Outcome | None, /) -> None:
        if not self._future.done():
            self._future.set_result(outcome)

    async def outcome(self, seconds: float) -> Outcome | None:
        timer = self._loop.call_later(min(seconds, _LONGEST_TIMER_SECONDS), self, None)
        try:
            return await self._future
        finally:
            timer.cancel()


def finished(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Returns the result of a coroutine that blocks wherever it waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: ResultT = end.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine gave way")
