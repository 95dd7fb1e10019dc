"""What waits: first come, first served, bounded in count."""

from __future__ import annotations

import threading

import pytest

from attention_server.domain.errors import QueueFull, ShuttingDown
from attention_server.scheduling.budget import RETRY_AFTER_SECONDS
from attention_server.scheduling.job import Job
from attention_server.scheduling.policy import Policy
from attention_server.scheduling.queue import JobQueue, Taken
from tests.unit.server.attend_requests import attend_request
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS

_REQUEST = attend_request()


def _job() -> Job:
    return Job(_REQUEST)


def _queue(max_requests: int = 100) -> JobQueue:
    return JobQueue(max_requests=max_requests, policy=Policy(threads=2, batching=True))


def _taken(queue: JobQueue) -> list[Job]:
    taken = queue.take()
    assert taken is not None
    return taken.jobs


def test_jobs_are_taken_in_the_order_in_which_they_came() -> None:
    queue, jobs = _queue(), [_job() for _ in range(5)]
    for job in jobs:
        queue.put(job)

    assert [_taken(queue) for _ in jobs] == [[job] for job in jobs]


def test_no_more_jobs_wait_than_allowed() -> None:
    queue = _queue(max_requests=2)
    queue.put(_job())
    queue.put(_job())

    with pytest.raises(QueueFull) as full:
        queue.put(_job())

    assert full.value.retry_after_seconds == RETRY_AFTER_SECONDS


def test_a_job_that_is_taken_makes_room() -> None:
    queue = _queue(max_requests=2)
    queue.put(_job())
    queue.put(_job())
    queue.take()

    queue.put(_job())


def test_reading_that_fails_gives_its_room_back() -> None:
    queue = _queue(max_requests=1)
    with pytest.raises(ZeroDivisionError), queue.reserved():
        _ = 1 / 0

    queue.put(_job())


def test_a_job_that_is_abandoned_leaves_and_makes_room() -> None:
    queue, jobs = _queue(max_requests=2), [_job(), _job()]
    for job in jobs:
        queue.put(job)

    jobs[0].abandon()

    queue.put(later := _job())
    assert [_taken(queue), _taken(queue)] == [[jobs[1]], [later]]


def test_a_job_abandoned_before_it_waits_never_waits() -> None:
    queue, gone, here = _queue(), _job(), _job()
    gone.abandon()
    queue.put(gone)
    queue.put(here)

    assert _taken(queue) == [here]


def test_a_reserved_place_is_taken() -> None:
    queue = _queue(max_requests=2)
    queue.put(_job())

    with queue.reserved():
        with pytest.raises(QueueFull):
            queue.put(_job())
        with pytest.raises(QueueFull), queue.reserved():
            pass


def test_a_reserved_place_is_free_again_afterwards_whatever_came_of_it() -> None:
    queue = _queue(max_requests=2)
    with queue.reserved():
        pass
    with pytest.raises(ValueError, match="unreadable"), queue.reserved():
        raise ValueError("unreadable")

    queue.put(_job())
    queue.put(_job())


def test_a_closed_queue_reserves_no_place() -> None:
    queue = _queue()
    queue.close()

    with pytest.raises(ShuttingDown), queue.reserved():
        pass


def test_closing_returns_what_waits_in_order() -> None:
    queue, jobs = _queue(), [_job() for _ in range(3)]
    for job in jobs:
        queue.put(job)

    assert queue.close() == jobs
    assert queue.close() == []


def test_a_closed_queue_takes_no_job() -> None:
    queue = _queue()
    queue.close()

    with pytest.raises(ShuttingDown):
        queue.put(_job())


def test_closing_ends_the_wait_for_a_job() -> None:
    queue = _queue()
    taken: list[Taken | None] = []
    threads = [
        threading.Thread(target=lambda: taken.append(queue.take()), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()

    queue.close()

    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert taken == [None, None, None]


def test_what_waits_and_what_is_read_is_told() -> None:
    queue = _queue()
    queue.put(_job())
    with queue.reserved():
        assert queue.waiting_requests == 2

    queue.take()
    assert queue.waiting_requests == 0
