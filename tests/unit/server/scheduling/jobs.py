"""Jobs and what became of them."""

from __future__ import annotations

from attention_server.scheduling.job import Job
from tests.unit.server.attend_requests import attend_request
from tests.unit.server.scheduling.held_engine import PATIENCE_SECONDS


def a_job(seed: int = 0, *, deadline: float | None = None, arrived: float | None = None) -> Job:
    request = attend_request(seed=seed)
    return Job(request, deadline=deadline, arrived=arrived)


def output_of(job: Job) -> object:
    return job.answer.result(PATIENCE_SECONDS).output


def error_of(job: Job) -> BaseException | None:
    return job.answer.exception(PATIENCE_SECONDS)
