"""Jobs taken several at a time, by threads that hold back while a batch has the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence

import pytest

from attention_server.domain.errors import RequestError, ShuttingDown
from attention_server.domain.request import AttendRequest, AttendResult, Manner, Task
from attention_server.scheduling import scheduler as scheduler_module
from attention_server.scheduling.job import Job
from attention_server.scheduling.load import Load
from attention_server.scheduling.policy import Plan, Policy, Run
from attention_server.scheduling.scheduler import Scheduler
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS, HeldEngine
from tests.unit.server.scheduling.jobs import a_job, error_of, output_of

ON_ALL = Manner(together=True, every_core=True)


class _Watched(HeldEngine):
    """A held engine that notes its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[list[AttendRequest], Manner]] = []

    def run(self, tasks: Sequence[Task], manner: Manner) -> Iterator[AttendResult | RequestError]:
        self.runs.append(([task.request for task in tasks], manner))
        return super().run(tasks, manner)

    @property
    def sizes(self) -> list[int]:
        return [len(requests) for requests, _ in self.runs]


class _AllTogether(Policy):
    """All that waits is one batch."""

    def choose(self, alike: Sequence[Load], waiting: int, running: Collection[Run]) -> Plan | None:
        return None if running else Plan(range(len(alike)), ON_ALL)

    def learn(self, run: Run, seconds: float) -> None:
        pass


class _TogetherThenAlone(_AllTogether):
    """The first run has the machine, those after it are alone."""

    _began = False

    def choose(self, alike: Sequence[Load], waiting: int, running: Collection[Run]) -> Plan | None:
        if any(run.has_the_machine for run in running):
            return None
        first, self._began = not self._began, True
        return Plan((0,), ON_ALL if first else Manner(every_core=False))


@pytest.fixture
def watched() -> Iterator[_Watched]:
    engine = _Watched()
    yield engine
    engine.let_go(1000)


def _begin(scheduler: Scheduler, engine: HeldEngine, *waiting: Job) -> Job:
    """Lets one job run, held, while the others wait."""
    running = a_job(100)
    scheduler.submit(running)
    engine.wait_until_begun()
    for job in waiting:
        scheduler.submit(job)
    return running


@pytest.mark.parametrize("threads", [1, 2])
def test_what_waits_meanwhile_is_computed_together(
    monkeypatch: pytest.MonkeyPatch,
    schedule: Callable[..., Scheduler],
    watched: _Watched,
    threads: int,
) -> None:
    monkeypatch.setattr(scheduler_module, "Policy", _AllTogether)
    jobs = [a_job(seed) for seed in range(3)]
    _begin(schedule(watched, threads=threads), watched, *jobs)

    watched.let_go(4)

    assert [output_of(job) is job.request.query for job in jobs] == [True] * 3
    assert watched.sizes == [1, 3]
    assert [manner.together for _, manner in watched.runs] == [False, True]


def test_threads_that_held_back_are_woken_when_the_batch_is_done(
    monkeypatch: pytest.MonkeyPatch, schedule: Callable[..., Scheduler], watched: _Watched
) -> None:
    monkeypatch.setattr(scheduler_module, "Policy", _TogetherThenAlone)
    jobs = [a_job(1), a_job(2)]
    _begin(schedule(watched, threads=2), watched, *jobs)
    assert watched.sizes == [1]

    watched.let_go()

    for _ in range(2):
        watched.wait_until_begun()
    assert not any(job.answer.done() for job in jobs)  # one did not wait for the other
    assert watched.sizes == [1, 1, 1]


def test_a_job_that_leaves_while_it_waits_is_in_no_batch(
    monkeypatch: pytest.MonkeyPatch, schedule: Callable[..., Scheduler], watched: _Watched
) -> None:
    monkeypatch.setattr(scheduler_module, "Policy", _AllTogether)
    jobs = [a_job(seed) for seed in range(3)]
    _begin(schedule(watched), watched, *jobs)

    jobs[1].abandon()
    watched.let_go(3)

    assert [output_of(job) is job.request.query for job in (jobs[0], jobs[2])] == [True] * 2
    assert watched.sizes == [1, 2]


def test_closing_refuses_what_is_held_back(
    monkeypatch: pytest.MonkeyPatch, schedule: Callable[..., Scheduler], watched: _Watched
) -> None:
    monkeypatch.setattr(scheduler_module, "Policy", _AllTogether)
    jobs = [a_job(seed) for seed in range(3)]
    scheduler = schedule(watched, threads=2)
    running = _begin(scheduler, watched, *jobs)

    closing = threading.Thread(target=scheduler.close, daemon=True)
    closing.start()
    refused = [type(error_of(job)) for job in jobs]
    watched.let_go()
    closing.join(PATIENCE_SECONDS)

    assert refused == [ShuttingDown] * 3
    assert output_of(running) is running.request.query
    assert not closing.is_alive()
    assert watched.sizes == [1]
