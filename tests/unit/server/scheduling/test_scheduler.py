"""Jobs are computed in order, dropped where nobody waits, and refused at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from attention_server.domain.errors import (
    Abandoned,
    DeadlinePassed,
    QueueFull,
    ShuttingDown,
)
from attention_server.domain.request import AttendRequest
from attention_server.scheduling.job import Job
from attention_server.scheduling.scheduler import Scheduler
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS, HeldEngine
from tests.unit.server.scheduling.jobs import a_job, error_of, output_of


def _are(requests: Sequence[AttendRequest], jobs: Sequence[Job]) -> bool:
    """Returns whether these are the requests of these jobs, in order."""
    return [id(request) for request in requests] == [id(job.request) for job in jobs]


def test_jobs_are_computed_in_the_order_in_which_they_came(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, jobs = schedule(engine), [a_job(seed) for seed in range(5)]
    for job in jobs:
        scheduler.submit(job)

    engine.let_go(5)

    assert [output_of(job) is job.request.query for job in jobs] == [True] * 5
    assert _are(engine.computed, jobs)


def test_as_many_jobs_are_computed_at_the_same_time_as_there_are_threads(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, jobs = schedule(engine, threads=2), [a_job(seed) for seed in range(3)]
    for job in jobs:
        scheduler.submit(job)

    begun = [engine.wait_until_begun() for _ in range(2)]

    assert all(any(request is job.request for job in jobs[:2]) for request in begun)
    assert len(engine.computed) == 2


def test_an_answer_tells_how_long_its_request_waited(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, first, second = schedule(engine), a_job(), a_job()
    scheduler.submit(first)
    engine.wait_until_begun()
    scheduler.submit(second)
    time.sleep(0.02)
    engine.let_go(2)

    waited = second.answer.result(PATIENCE_SECONDS).execution.queue_us
    assert 20_000 <= waited <= PATIENCE_SECONDS * 1_000_000


def test_waiting_begins_with_the_arrival_of_the_message(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    job = a_job(arrived=time.monotonic() - 5.0)
    schedule(engine).submit(job)
    engine.let_go()

    assert job.answer.result(PATIENCE_SECONDS).execution.queue_us >= 5_000_000


def test_a_job_abandoned_while_it_waits_never_reaches_the_engine(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, abandoned, last = schedule(engine), a_job(1), a_job(2), a_job(3)
    for job in (running, abandoned, last):
        scheduler.submit(job)
    engine.wait_until_begun()

    abandoned.abandon()
    engine.let_go(2)

    assert output_of(last) is last.request.query
    assert abandoned.answer.cancelled()
    assert _are(engine.computed, [running, last])


def test_a_job_abandoned_while_it_runs_is_answered_so(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, job = schedule(engine), a_job()
    scheduler.submit(job)
    engine.wait_until_begun()

    job.abandon()
    engine.let_go()

    assert isinstance(error_of(job), Abandoned)


def test_a_job_whose_deadline_passes_while_it_waits_never_reaches_the_engine(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, last = schedule(engine), a_job(1), a_job(3)
    late = a_job(2, deadline=time.monotonic())
    for job in (running, late, last):
        scheduler.submit(job)

    engine.let_go(2)

    assert output_of(last) is last.request.query
    assert isinstance(error_of(late), DeadlinePassed)
    assert _are(engine.computed, [running, last])


def test_what_runs_does_not_count_as_waiting(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, waiting = schedule(engine, max_waiting_requests=1), a_job(1), a_job(2)
    scheduler.submit(running)
    engine.wait_until_begun()
    scheduler.submit(waiting)

    with pytest.raises(QueueFull):
        scheduler.submit(a_job(3))


def test_closing_refuses_what_waits_and_lets_what_runs_finish(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, waiting = schedule(engine), a_job(1), [a_job(2), a_job(3)]
    for job in (running, *waiting):
        scheduler.submit(job)
    engine.wait_until_begun()

    closing = threading.Thread(target=scheduler.close, daemon=True)
    closing.start()
    refused = [error_of(job) for job in waiting]
    assert not running.answer.done()
    engine.let_go()
    closing.join(PATIENCE_SECONDS)

    assert [type(error) for error in refused] == [ShuttingDown, ShuttingDown]
    assert output_of(running) is running.request.query
    assert _are(engine.computed, [running])


def test_a_closed_scheduler_takes_noa_job(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler = schedule(engine)
    scheduler.close()

    with pytest.raises(ShuttingDown):
        scheduler.submit(a_job())
