"""Every job is answered exactly once: with a result, an error or a cancellation."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from attention_server.domain.errors import (
    Abandoned,
    DeadlinePassed,
    InvalidRequest,
    QueueFull,
    RequestError,
    ShuttingDown,
)
from attention_server.domain.request import AttendRequest, AttendResult, Task
from attention_server.scheduling.job import Job
from attention_server.scheduling.scheduler import RequestEngine, Scheduler
from attention_service.reasons import Reason
from tests.unit.server.attend_requests import attend_request
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS, HeldEngine, answer_to


@pytest.fixture
def schedule() -> Iterator[Callable[..., Scheduler]]:
    """Starts schedulers: ``schedule(engine, threads=2)``."""
    schedulers: list[Scheduler] = []

    def start(engine: RequestEngine, **limits: int) -> Scheduler:
        defaults = {"threads": 1, "max_waiting_requests": 1000, "max_waiting_bytes": 1 << 30}
        schedulers.append(Scheduler(engine, **{**defaults, **limits}))
        return schedulers[-1]

    yield start
    for scheduler in schedulers:
        scheduler.close()


@pytest.fixture
def engine() -> Iterator[HeldEngine]:
    engine = HeldEngine()
    yield engine
    engine.let_go(1000)  # a test that failed holds nobody


def _job(seed: int = 0, *, size: int = 1, deadline: float | None = None) -> Job:
    return Job(attend_request(seed=seed), request_bytes=size, deadline=deadline)


def _output(job: Job) -> object:
    return job.answer.result(PATIENCE_SECONDS).output


def _error(job: Job) -> BaseException | None:
    return job.answer.exception(PATIENCE_SECONDS)


def _are(requests: Sequence[AttendRequest], jobs: Sequence[Job]) -> bool:
    """Returns whether these are the requests of these jobs, in order."""
    return [id(request) for request in requests] == [id(job.request) for job in jobs]


def test_jobs_are_computed_in_the_order_in_which_they_came(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, jobs = schedule(engine), [_job(seed) for seed in range(5)]
    for job in jobs:
        scheduler.submit(job)

    engine.let_go(5)

    assert [_output(job) is job.request.query for job in jobs] == [True] * 5
    assert _are(engine.computed, jobs)


def test_as_many_jobs_are_computed_at_the_same_time_as_there_are_threads(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, jobs = schedule(engine, threads=2), [_job(seed) for seed in range(3)]
    for job in jobs:
        scheduler.submit(job)

    begun = [engine.wait_until_begun() for _ in range(2)]

    assert all(any(request is job.request for job in jobs[:2]) for request in begun)
    assert len(engine.computed) == 2


def test_an_answer_tells_how_long_its_request_waited(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, first, second = schedule(engine), _job(), _job()
    scheduler.submit(first)
    engine.wait_until_begun()
    scheduler.submit(second)
    time.sleep(0.02)
    engine.let_go(2)

    waited = second.answer.result(PATIENCE_SECONDS).execution.queue_us
    assert 20_000 <= waited <= PATIENCE_SECONDS * 1_000_000


def test_a_job_abandoned_while_it_waits_never_reaches_the_engine(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, abandoned, last = schedule(engine), _job(1), _job(2), _job(3)
    for job in (running, abandoned, last):
        scheduler.submit(job)
    engine.wait_until_begun()

    abandoned.abandon()
    engine.let_go(2)

    assert _output(last) is last.request.query
    assert abandoned.answer.cancelled()
    assert _are(engine.computed, [running, last])


def test_a_job_abandoned_while_it_runs_is_answered_so(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, job = schedule(engine), _job()
    scheduler.submit(job)
    engine.wait_until_begun()

    job.abandon()
    engine.let_go()

    assert isinstance(_error(job), Abandoned)


def test_a_job_whose_deadline_passes_while_it_waits_never_reaches_the_engine(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, last = schedule(engine), _job(1), _job(3)
    late = _job(2, deadline=time.monotonic())
    for job in (running, late, last):
        scheduler.submit(job)

    engine.let_go(2)

    assert _output(last) is last.request.query
    assert isinstance(_error(late), DeadlinePassed)
    assert _are(engine.computed, [running, last])


@pytest.mark.parametrize("limit", [{"max_waiting_requests": 1}, {"max_waiting_bytes": 10}])
def test_what_runs_does_not_count_as_waiting(
    schedule: Callable[..., Scheduler], engine: HeldEngine, limit: dict[str, int]
) -> None:
    scheduler, running, waiting = schedule(engine, **limit), _job(1, size=10), _job(2, size=10)
    scheduler.submit(running)
    engine.wait_until_begun()
    scheduler.submit(waiting)

    with pytest.raises(QueueFull):
        scheduler.submit(_job(3, size=10))


def test_closing_refuses_what_waits_and_lets_what_runs_finish(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, running, waiting = schedule(engine), _job(1), [_job(2), _job(3)]
    for job in (running, *waiting):
        scheduler.submit(job)
    engine.wait_until_begun()

    closing = threading.Thread(target=scheduler.close, daemon=True)
    closing.start()
    refused = [_error(job) for job in waiting]
    assert not running.answer.done()
    engine.let_go()
    closing.join(PATIENCE_SECONDS)

    assert [type(error) for error in refused] == [ShuttingDown, ShuttingDown]
    assert _output(running) is running.request.query
    assert _are(engine.computed, [running])


def test_a_closed_scheduler_takes_no_job(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler = schedule(engine)
    scheduler.close()

    with pytest.raises(ShuttingDown):
        scheduler.submit(_job())


class _Failing:
    """An engine that fails once, in one of the ways in which it might."""

    def __init__(self, fail: Callable[[AttendRequest], Iterator[AttendResult | RequestError]]):
        self._fail = fail
        self._failed = False

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        if self._failed:
            return map(answer_to, (task.request for task in tasks))
        self._failed = True
        return self._fail(tasks[0].request)


def _raise(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    if request.batch:
        raise MemoryError("no room for the scores")
    yield answer_to(request)


def _raise_at_once(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    raise MemoryError("no room for the scores")


def _refuse(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    yield InvalidRequest.of(Reason.SCORE_OVERFLOW, "", "scores overflow float32")


def _give_nothing(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    return iter(())


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (_raise, MemoryError),
        (_raise_at_once, MemoryError),
        (_refuse, InvalidRequest),
        (_give_nothing, RuntimeError),
    ],
    ids=["it raises", "it raises before it begins", "it refuses", "it gives no answer"],
)
def test_a_job_on_which_the_engine_fails_is_answered_so_and_the_next_is_computed(
    schedule: Callable[..., Scheduler],
    fail: Callable[[AttendRequest], Iterator[AttendResult | RequestError]],
    error: type[Exception],
) -> None:
    scheduler, failing, next_one = schedule(_Failing(fail)), _job(1), _job(2)
    scheduler.submit(failing)
    scheduler.submit(next_one)

    assert isinstance(_error(failing), error)
    assert _output(next_one) is next_one.request.query


def test_an_idle_thread_holds_no_request(
    schedule: Callable[..., Scheduler], engine: HeldEngine
) -> None:
    scheduler, job = schedule(engine), _job()
    scheduler.submit(job)
    engine.let_go()
    job.answer.result(PATIENCE_SECONDS)
    request = weakref.ref(job.request)
    engine.wait_until_begun()
    engine.computed.clear()
    del job

    patience = time.monotonic() + PATIENCE_SECONDS
    while request() is not None and time.monotonic() < patience:
        time.sleep(0.001)  # until the thread is back to waiting
        gc.collect()
    assert request() is None


class _Busy:
    """An engine that takes a moment, refuses what is not wanted any more and fails on some."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        for task in tasks:
            fate = self._random.random()
            time.sleep(0.0005 * fate)
            if fate < 0.1:
                raise MemoryError("no room for the scores")
            try:
                task.checkpoint()
                yield answer_to(task.request)
            except RequestError as error:
                yield error


def _outcome(job: Job) -> str:
    try:
        assert _output(job) is job.request.query
        return "result"
    except (RequestError, MemoryError, CancelledError) as error:
        return type(error).__name__


def test_under_load_every_job_is_answered_exactly_once(
    schedule: Callable[..., Scheduler],
) -> None:
    scheduler = schedule(_Busy(), threads=3, max_waiting_requests=40)
    answers: Counter[int] = Counter()
    jobs: list[Job] = []

    def send(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(100):
            seconds = [3600.0, 3600.0, 0.0, 0.001][random.integers(4)]
            job = _job(deadline=time.monotonic() + seconds)
            job.answer.add_done_callback(lambda answer: answers.update([id(answer)]))
            try:
                scheduler.submit(job)
            except QueueFull:
                continue
            jobs.append(job)
            if random.random() < 0.3:
                job.abandon()
            time.sleep(0.001 * random.random())

    senders = [threading.Thread(target=send, args=(seed,), daemon=True) for seed in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(PATIENCE_SECONDS)

    outcomes = {_outcome(job) for job in jobs}
    scheduler.close()  # a thread tells of an answer after it has given it
    assert {answers[id(job.answer)] for job in jobs} == {1}
    assert outcomes >= {"result", "CancelledError", "DeadlinePassed", "MemoryError"}
