"""The stream that stays open underneath, opened when it is needed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from attention_client._stream import Stream

__all__ = ["Streams"]

StreamT = TypeVar("StreamT", bound=Stream)


class Streams(Generic[StreamT]):
    """One stream to send on; those before it end once all on them is answered.

    Args:
        open_stream: Opens one.
    """

    def __init__(self, open_stream: Callable[[], StreamT]) -> None:
        self._open_stream = open_stream
        self._latest: StreamT | None = None
        self._unfinished: list[StreamT] = []
        self._guard = threading.Lock()
        self._process = os.getpid()

    def current(self, *, needed: bool) -> StreamT | None:
        """Returns the stream to send on; None where requests do better without one.

        Args:
            needed: Whether the request can travel on a stream alone.
        """
        if os.getpid() != self._process:  # the threads of a stream stayed behind
            return None
        latest = self._latest
        if latest is not None and latest.is_open:
            return latest
        with self._guard:
            latest = self._latest
            if latest is not None:
                if latest.is_open:  # another thread was faster
                    return latest
                if not needed and time.monotonic() < latest.avoid_until:
                    return None
                latest.retire()
            self._unfinished = [stream for stream in self._unfinished if not stream.is_over]
            self._latest = self._open_stream()
            self._unfinished.append(self._latest)
            return self._latest

    def close(self, outcome: Exception) -> None:
        """Ends all streams; whoever waits gets this outcome."""
        if os.getpid() != self._process:
            return
        with self._guard:
            unfinished, self._unfinished = self._unfinished, []
        for stream in unfinished:
            stream.close(outcome)
