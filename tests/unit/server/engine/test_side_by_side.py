"""Parts of a request, computed by several threads at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from attention_server.engine.side_by_side import side_by_side

_TOGETHER = 10.0  # seconds until threads that do not meet are told apart from slow ones


def _numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_each_part_is_computed_once(threads: int, count: int) -> None:
    computed: list[int] = []

    side_by_side(_numbers(count), computed.append, threads=threads)

    assert sorted(computed) == list(range(count))


def test_as_many_parts_are_computed_at_a_time_as_there_are_threads() -> None:
    meeting = threading.Barrier(3, timeout=_TOGETHER)

    def compute(_: int) -> None:
        meeting.wait()

    side_by_side(_numbers(6), compute, threads=3)

    assert not meeting.broken


@pytest.mark.parametrize("threads", [1, 3])
def test_no_part_is_begun_after_one_that_failed(threads: int) -> None:
    begun: list[int] = []

    def compute(part: int) -> None:
        begun.append(part)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        side_by_side(_numbers(50), compute, threads=threads)

    assert len(begun) <= threads


@pytest.mark.parametrize("threads", [1, 3])
def test_a_part_that_cannot_be_made_is_the_last(threads: int) -> None:
    computed: list[int] = []

    def parts() -> Generator[int, None, None]:
        yield 0
        raise TimeoutError

    with pytest.raises(TimeoutError):
        side_by_side(parts(), computed.append, threads=threads)

    assert computed == [0]
