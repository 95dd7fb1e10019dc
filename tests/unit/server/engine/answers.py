"""What the engine answers to requests that somebody waits for."""

from __future__ import annotations

from attention_server.domain.errors import RequestError
from attention_server.domain.request import AttendRequest, AttendResult, Task
from attention_server.engine.engine import Engine
from attention_service.reasons import Reason


def wanted() -> None:
    """Stands for the checkpoint of a caller who waits."""


def answers_of(engine: Engine, *requests: AttendRequest) -> list[AttendResult | Exception]:
    return list(engine.run([Task(request, wanted) for request in requests]))


def result_of(engine: Engine, request: AttendRequest) -> AttendResult:
    (answer,) = answers_of(engine, request)
    if isinstance(answer, Exception):
        raise answer
    return answer


def reason_of(answer: AttendResult | Exception) -> Reason | None:
    return answer.reason if isinstance(answer, RequestError) else None
