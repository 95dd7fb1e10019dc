from __future__ import annotations

from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from attention_server.domain import errors
from attention_server.edge.status import Status, internal_error, status_of
from attention_service.reasons import DOMAIN, Reason

MessageT = TypeVar("MessageT", bound=Message)


def detail(status: Status, kind: type[MessageT]) -> MessageT:
    (found,) = (detail for detail in status.details if isinstance(detail, kind))
    return found


def test_every_status_names_its_reason_and_domain() -> None:
    status = status_of(errors.ShuttingDown())

    assert status.details == (error_details_pb2.ErrorInfo(reason="SHUTTING_DOWN", domain=DOMAIN),)


def test_fields_at_fault_come_in_their_order() -> None:
    violations = [errors.Violation(f"f[{i}]", f"d{i}") for i in range(3)]

    status = status_of(errors.InvalidRequest(Reason.OUT_OF_RANGE, *violations))

    bad_request = detail(status, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad_request.field_violations] == violations


@pytest.mark.parametrize(("count", "named"), [(15, 15), (16, 16), (17, 16), (1000, 16)])
def test_at_most_sixteen_fields_are_named(count: int, named: int) -> None:
    violations = [errors.Violation(f"f[{i}]", "d") for i in range(count)]

    status = status_of(errors.InvalidRequest(Reason.OUT_OF_RANGE, *violations))

    assert len(detail(status, error_details_pb2.BadRequest).field_violations) == named


def test_fault_of_the_request_as_a_whole_names_no_field() -> None:
    error = errors.InvalidRequest.of(Reason.SCORE_OVERFLOW, "", "scores overflow")

    status = status_of(error)

    assert (status.message, len(status.details)) == ("scores overflow", 1)


def test_full_queue_says_when_to_come_back() -> None:
    retry = detail(status_of(errors.QueueFull(1.5)), error_details_pb2.RetryInfo)

    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5


def test_internal_error_holds_nothing_but_its_id() -> None:
    status = internal_error("0123456789abcdef")

    assert status.code is grpc.StatusCode.INTERNAL
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"id": "0123456789abcdef"})
