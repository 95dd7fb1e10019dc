"""Errors of the domain carry a reason, a message for the caller, and the fields at fault."""

from __future__ import annotations

import pytest

from attention_server.domain.errors import (
    DeadlinePassed,
    InvalidRequest,
    LimitExceeded,
    NotBuilt,
    QueueFull,
    RequestError,
    ShuttingDown,
    Violation,
)
from attention_service.reasons import Reason


@pytest.mark.parametrize(
    ("violations", "message"),
    [
        ([Violation("query", "must be given")], "query: must be given"),
        ([Violation("", "too much at once")], "too much at once"),
        ([Violation("a", "is wrong"), Violation("b", "too")], "a: is wrong (and 1 more)"),
    ],
    ids=["a field", "no field", "two fields"],
)
def test_the_message_names_the_first_violation(violations: list[Violation], message: str) -> None:
    assert InvalidRequest(Reason.OUT_OF_RANGE, *violations).message == message


def test_no_more_violations_are_kept_than_an_answer_carries() -> None:
    error = InvalidRequest(
        Reason.OUT_OF_RANGE, *(Violation(f"mask.kv_lengths[{i}]", "is wrong") for i in range(100))
    )

    assert [v.field for v in error.violations] == [f"mask.kv_lengths[{i}]" for i in range(16)]


def test_an_error_of_a_request_within_another_names_its_fields_there() -> None:
    many = [Violation(f"lengths[{i}]", "is wrong") for i in range(100)]

    of_fields = LimitExceeded(Reason.LENGTH_LIMIT, *many).within("attend")
    of_none = InvalidRequest.of(Reason.WORK_LIMIT, "", "too much").within("attend")

    assert type(of_fields) is LimitExceeded
    assert of_fields.reason is Reason.LENGTH_LIMIT
    assert of_fields.message == "attend.lengths[0]: is wrong (and more)"
    assert of_fields.violations[15].field == "attend.lengths[15]"
    assert of_none.message == "too much"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QueueFull(0.1), Reason.QUEUE_FULL),
        (ShuttingDown(), Reason.SHUTTING_DOWN),
        (DeadlinePassed(), Reason.DEADLINE_EXCEEDED),
        (NotBuilt("AttendStream"), Reason.NOT_IMPLEMENTED),
    ],
)
def test_a_fact_is_named_and_told(error: RequestError, reason: Reason) -> None:
    assert error.reason is reason
    assert error.message
    assert str(error) == error.message
