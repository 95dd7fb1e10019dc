"""Memory that large calls freed, given back to the system."""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import Executor

__all__ = ["FreedMemory", "use_one_heap"]

_M_ARENA_MAX = -8  # of glibc's malloc.h
_LARGE_BYTES = 4 << 20
_PAUSE_SECONDS = 1.0  # gRPC's own copies are freed a little after their call is over


def use_one_heap() -> None:
    """Lets all threads to come share one heap, where the C library is glibc.

    Else each thread has its own, and of those glibc never gives back what lies free at their end.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


class FreedMemory:
    """Trims the heap a moment after a large call. Belongs to one event loop.

    gRPC reads a message in small pieces; glibc keeps most of what held them, and the more threads
    had some, the more. Elsewhere than on glibc there is nothing to do.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._due: asyncio.TimerHandle | None = None

    def call_over(self, size: int) -> None:
        """Takes note of a call that took as many bytes."""
        if self._trim is not None and size >= _LARGE_BYTES and self._due is None:
            self._due = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._give_back)

    def close(self) -> None:
        """Lets go of the executor, for good."""
        self._trim = None
        if self._due is not None:
            self._due.cancel()

    def _give_back(self) -> None:
        self._due = None
        assert self._trim is not None
        self._executor.submit(self._trim, 0)  # ctypes lets go of the GIL meanwhile
