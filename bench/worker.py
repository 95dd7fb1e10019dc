"""Processes that measure, one a contender, so that the threads of one leave the others be."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Figures", "Make", "Unavailable", "Worker", "WorkerFailed"]

Figures = Mapping[str, float]
"""What one round showed, by name; a name ends in its unit: "ms", "p99_ms", "rate"."""
Make = Callable[..., AbstractContextManager[Callable[..., Figures]]]
"""Sets up what is measured, and gives a function that measures one round."""

_PATIENCE = 600.0  # seconds; a round takes a few


class Unavailable(Exception):
    """A contender that cannot take part here; the message says why, for people."""


class WorkerFailed(Exception):
    """A measuring process failed; the message holds its traceback."""


class Worker:
    """A process that was set up once and measures a round whenever it is called.

    Args:
        make: A function that another process can import.
        arguments: For it, small and picklable.
    """

    def __init__(self, make: Make, *arguments: Any, **keywords: Any) -> None:
        # Never fork: gRPC and ONNX Runtime have threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, make, arguments, keywords), daemon=True
        )
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Waits for the set-up to be done.

        Raises:
            Unavailable: What it measures cannot take part.
            WorkerFailed: It failed.
        """
        self._answer()

    def __call__(self, **keywords: Any) -> Figures:
        """Measures one round.

        Raises:
            Unavailable: What it measures cannot take part.
            WorkerFailed: It failed.
        """
        self._pipe.send(keywords)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> Figures:
        if not self._pipe.poll(_PATIENCE):
            raise WorkerFailed(f"no answer within {_PATIENCE:.0f} s")
        try:
            answer: Figures | Exception = self._pipe.recv()
        except EOFError:
            raise WorkerFailed("the process ended without a word") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _work(
    pipe: Connection, make: Make, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Sets up, then answers each set of keywords with a round's figures, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent that ends us
    try:
        with make(*arguments, **keywords) as measure:
            pipe.send({})
            while True:
                pipe.send(measure(**pipe.recv()))
    except EOFError:
        return
    except Unavailable as reason:
        pipe.send(reason)
    except Exception:  # noqa: BLE001  # the parent tells of it
        pipe.send(WorkerFailed(traceback.format_exc()))
