"""What is brief is computed by whoever brings it, unless a thread had better do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from attention_server.domain.errors import DeadlinePassed, QueueFull, ShuttingDown
from attention_server.domain.request import AttendRequest, AttendResult, Manner, Task
from attention_server.scheduling.scheduler import Scheduler
from tests.unit.server.scheduling.held_engine import HeldEngine, answer_to
from tests.unit.server.scheduling.jobs import a_job, error_of, output_of


class _Noting:
    """An engine that notes who computes."""

    def __init__(self, *, is_brief: bool = True, fault: Exception | None = None) -> None:
        self.threads: list[threading.Thread] = []
        self._is_brief = is_brief
        self._fault = fault

    def is_brief(self, request: AttendRequest) -> bool:
        return self._is_brief

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | Exception]:
        self.threads.append(threading.current_thread())
        for task in tasks:
            yield self._fault or answer_to(task.request)


class _LongAtFirst(HeldEngine):
    """A held engine to which all is brief from some time on."""

    briefness = False

    def is_brief(self, request: AttendRequest) -> bool:
        return self.briefness


@pytest.mark.parametrize(
    ("at_once", "calls", "is_brief", "here"),
    [
        (False, 1, True, True),
        (False, 2, True, False),
        (True, 2, True, True),
        (True, 1, False, False),
    ],
    ids=["alone", "beside another", "beside another where cores are few", "long"],
)
def test_who_computes(
    schedule: Callable[..., Scheduler], at_once: bool, calls: int, is_brief: bool, here: bool
) -> None:
    engine, job = _Noting(is_brief=is_brief), a_job()
    scheduler = schedule(engine, at_once=at_once)
    for call in range(calls):
        scheduler.budget.take(call, 1)

    scheduler.submit(job)

    assert output_of(job) is job.request.query
    assert [thread is threading.current_thread() for thread in engine.threads] == [here]


def test_a_fault_is_the_answer_here_too(schedule: Callable[..., Scheduler]) -> None:
    fault, job = MemoryError("no room for the scores"), a_job()

    schedule(_Noting(fault=fault)).submit(job)

    assert error_of(job) is fault


def test_what_is_late_is_not_computed(schedule: Callable[..., Scheduler]) -> None:
    engine, job = _Noting(), a_job(deadline=0.0)

    schedule(engine).submit(job)

    assert isinstance(error_of(job), DeadlinePassed)
    assert not engine.threads


def test_what_could_not_wait_is_refused(schedule: Callable[..., Scheduler]) -> None:
    engine = _LongAtFirst()
    scheduler = schedule(engine, at_once=True, max_waiting_requests=1)
    scheduler.submit(a_job())
    engine.wait_until_begun()
    scheduler.submit(a_job())
    engine.briefness = True

    with pytest.raises(QueueFull):
        scheduler.submit(a_job())
    engine.let_go(2)


def test_nothing_is_computed_after_the_end(schedule: Callable[..., Scheduler]) -> None:
    scheduler = schedule(_Noting())
    scheduler.close()

    with pytest.raises(ShuttingDown):
        scheduler.submit(a_job())
