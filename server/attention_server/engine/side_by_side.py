"""Parts of a request computed at the same time, each by one thread from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

__all__ = ["side_by_side"]

_PartT = TypeVar("_PartT")


def side_by_side(
    parts: Generator[_PartT, None, None], compute: Callable[[_PartT], None], *, threads: int
) -> None:
    """Computes each part, as many at a time as there are threads, the one that calls among them.

    Parts are made one at a time, in turn, by whichever thread is free: none lies about. The first
    exception, of a part or of making one, is raised once nothing is being computed any more.
    """
    turn = Lock()

    def work() -> None:
        while True:
            with turn:
                part = next(parts, None)  # a generator that raised has nothing more
            if part is None:
                return
            try:
                compute(part)
            except BaseException:
                with turn:
                    parts.close()
                raise

    if threads == 1:
        work()
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="block") as executor:
        others = [executor.submit(work) for _ in range(threads - 1)]
        work()
    for other in others:
        other.result()
