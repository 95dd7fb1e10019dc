from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from attention_server.edge import freed_memory
from attention_server.edge.freed_memory import FreedMemory

LARGE = 4 << 20


class Trimming(ThreadPoolExecutor):
    """Counts what it is given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return super().submit(fn, *args, **kwargs)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "_PAUSE_SECONDS", 0.0)
    # As glibc's, wherever this runs.
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Libc)


class Libc:
    malloc_trim = int


async def all_that_is_due() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("sizes", "trims"),
    [((LARGE - 1,), 0), ((LARGE,), 1), ((LARGE, 1, LARGE), 1)],
    ids=["a small call", "a large one", "several at once"],
)
async def test_heap_is_trimmed_once_after_large_calls(sizes: tuple[int, ...], trims: int) -> None:
    with Trimming() as executor:
        freed = FreedMemory(executor)
        for size in sizes:
            freed.call_over(size)
        await all_that_is_due()

    assert executor.given == trims


async def test_nothing_is_trimmed_after_the_end() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    executor = Trimming()
    freed = FreedMemory(executor)
    freed.call_over(LARGE)
    freed.close()
    executor.shutdown()
    freed.call_over(LARGE)
    await all_that_is_due()

    assert (executor.given, faults) == (0, [])
