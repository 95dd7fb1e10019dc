"""Every job is answered exactly once: with a result, an error or a cancellation."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest

from attention_server.domain.errors import (
    InvalidRequest,
    QueueFull,
    RequestError,
)
from attention_server.domain.request import AttendRequest, AttendResult, Manner, Task
from attention_server.scheduling.job import Job
from attention_server.scheduling.scheduler import Scheduler
from attention_service.reasons import Reason
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS, answer_to
from tests.unit.server.scheduling.jobs import a_job, error_of, output_of


class _NeverBrief:
    def is_brief(self, request: AttendRequest) -> bool:
        return False


class _AtFirst(_NeverBrief):
    """An engine that does as it is told with its first request and answers those after it."""

    def __init__(self, do: Callable[[AttendRequest], Iterator[AttendResult | RequestError]]):
        self._do = do
        self._did = False

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | RequestError]:
        if self._did:
            return map(answer_to, (task.request for task in tasks))
        self._did = True
        return self._do(tasks[0].request)


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
    scheduler, failing, next_one = schedule(_AtFirst(fail)), a_job(1), a_job(2)
    scheduler.submit(failing)
    scheduler.submit(next_one)

    assert isinstance(error_of(failing), error)
    assert output_of(next_one) is next_one.request.query


def _answer(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    result = answer_to(request)
    yield replace(result, output=np.zeros_like(request.query))  # nothing of the request


def _refuse_from_within(request: AttendRequest) -> Iterator[AttendResult | RequestError]:
    try:
        raise InvalidRequest.of(Reason.SCORE_OVERFLOW, "", "scores overflow float32")
    except InvalidRequest as error:
        yield error


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("answer", [_answer, _refuse_from_within], ids=["answered", "refused"])
@pytest.mark.usefixtures("no_garbage_collection")
def test_a_request_leaves_memory_as_soon_as_it_is_answered(
    schedule: Callable[..., Scheduler],
    answer: Callable[[AttendRequest], Iterator[AttendResult | RequestError]],
) -> None:
    scheduler, job = schedule(_AtFirst(answer)), a_job()
    future, request = job.answer, weakref.ref(job.request)
    scheduler.submit(job)
    del job
    future.exception(PATIENCE_SECONDS)

    patience = time.monotonic() + PATIENCE_SECONDS
    while request() is not None and time.monotonic() < patience:
        time.sleep(0.001)  # until the thread is back to waiting
    assert request() is None


class _Busy(_NeverBrief):
    """An engine that takes a moment, refuses what is not wanted any more and fails on some."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | RequestError]:
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
        assert output_of(job) is job.request.query
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
            job = a_job(deadline=time.monotonic() + seconds)
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
