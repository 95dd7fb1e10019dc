"""A job knows whether its answer is still wanted."""

from __future__ import annotations

import time

import pytest

from attention_server.domain.errors import Abandoned, DeadlinePassed
from attention_server.scheduling.job import Job
from tests.unit.server.attend_requests import attend_request

_REQUEST = attend_request()


def _job(seconds_left: float | None = None) -> Job:
    deadline = None if seconds_left is None else time.monotonic() + seconds_left
    return Job(_REQUEST, deadline=deadline)


@pytest.mark.parametrize("seconds_left", [None, 3600.0], ids=["no deadline", "time left"])
def test_a_job_that_is_wanted_begins_and_passes_its_checkpoints(
    seconds_left: float | None,
) -> None:
    job = _job(seconds_left)

    assert job.begin()
    job.checkpoint()
    assert not job.answer.done()


def test_a_job_out_of_time_does_not_begin_and_is_answered_so() -> None:
    job = _job(0.0)

    assert not job.begin()
    assert isinstance(job.answer.exception(timeout=0), DeadlinePassed)


def test_a_job_abandoned_while_it_waits_does_not_begin_and_is_cancelled() -> None:
    job = _job()
    job.abandon()

    assert not job.begin()
    assert job.answer.cancelled()


def test_a_job_abandoned_while_it_runs_stops_at_its_next_checkpoint() -> None:
    job = _job()
    assert job.begin()
    job.abandon()

    with pytest.raises(Abandoned):
        job.checkpoint()
    assert not job.answer.done()  # whoever runs it answers it


def test_a_job_that_runs_out_of_time_stops_at_its_next_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = _job(seconds_left=3600.0)
    assert job.begin()
    later = time.monotonic() + 3600.0
    monkeypatch.setattr(time, "monotonic", lambda: later)

    with pytest.raises(DeadlinePassed):
        job.checkpoint()
