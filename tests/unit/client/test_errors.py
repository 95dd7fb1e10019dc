from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from attention_client import (
    AttentionError,
    DeadlineExceededError,
    FieldViolation,
    InternalServerError,
    InvalidRequestError,
    LimitExceededError,
    NotImplementedByServerError,
    ProtocolError,
    Reason,
    RequestTooLargeError,
    ServerBusyError,
    ServerUnavailableError,
)
from attention_client._status import error_from_stream
from attention_client.errors import CLASS_BY_CODE, CLASS_BY_REASON, error_class
from attention_service.reasons import DOMAIN
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def packed(code: grpc.StatusCode, *details: Message) -> tuple[tuple[str, bytes], ...]:
    status = status_pb2.Status(code=code.value[0], message="what was wrong")
    for detail in details:
        status.details.add().Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def failing(
    code: grpc.StatusCode, trailing: tuple[tuple[str, bytes], ...] = ()
) -> Callable[[Any, grpc.ServicerContext], None]:
    def handler(_: Any, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(trailing)
        context.abort(code, "what was wrong")

    return handler


def error_of(ask: Ask, address: str, **settings: Any) -> AttentionError:
    with pytest.raises(AttentionError) as caught:
        ask(address, lambda client: client.server_info(), retry=None, **settings)
    return caught.value


def test_every_status_and_every_reason_has_its_error() -> None:
    assert set(CLASS_BY_CODE) == {code.name for code in FAILURES}
    assert set(CLASS_BY_REASON) == set(Reason)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_a_bare_status_becomes_its_error(serve: Serve, ask: Ask, code: grpc.StatusCode) -> None:
    error = error_of(ask, serve(GetServerInfo=failing(code)))

    assert type(error) is CLASS_BY_CODE[code.name]
    assert (error.code, error.reason, error.violations) == (code.name, None, ())


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_becomes_its_error(serve: Serve, ask: Ask, reason: Reason) -> None:
    info = error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN)
    trailing = packed(grpc.StatusCode.FAILED_PRECONDITION, info)

    error = error_of(
        ask, serve(GetServerInfo=failing(grpc.StatusCode.FAILED_PRECONDITION, trailing))
    )

    assert type(error) is CLASS_BY_REASON[reason]
    assert error.reason is reason
    assert str(error) == error.message == "what was wrong"


def test_fields_at_fault_and_the_time_to_wait_are_carried_over(serve: Serve, ask: Ask) -> None:
    retry_info = error_details_pb2.RetryInfo(retry_delay=Duration())
    retry_info.retry_delay.FromTimedelta(timedelta(seconds=1.5))
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field="mask.kv_lengths[2]", description="too long")
    code = grpc.StatusCode.UNAVAILABLE
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain=DOMAIN)

    error = error_of(
        ask, serve(GetServerInfo=failing(code, packed(code, info, bad_request, retry_info)))
    )

    assert isinstance(error, ServerBusyError)
    assert error.violations == (FieldViolation("mask.kv_lengths[2]", "too long"),)
    assert error.retry_after == 1.5


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (error_details_pb2.ErrorInfo(reason="NOT_KNOWN_YET", domain=DOMAIN), "NOT_KNOWN_YET"),
        (error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="another"), "QUEUE_FULL"),
    ],
    ids=["newer", "another service's"],
)
def test_an_unknown_reason_is_told_but_leaves_it_to_the_status(
    serve: Serve, ask: Ask, info: error_details_pb2.ErrorInfo, reason: str
) -> None:
    code = grpc.StatusCode.INTERNAL

    error = error_of(ask, serve(GetServerInfo=failing(code, packed(code, info))))

    assert type(error) is InternalServerError
    assert error.reason == reason
    assert not isinstance(error.reason, Reason)


@pytest.mark.parametrize(
    "details",
    [b"\xff\xff", status_pb2.Status(details=[{"value": b"\xff"}]).SerializeToString()],
    ids=["no status", "no detail"],
)
def test_details_that_cannot_be_read_leave_code_and_message(
    serve: Serve, ask: Ask, details: bytes
) -> None:
    trailing = (("grpc-status-details-bin", details),)

    error = error_of(ask, serve(GetServerInfo=failing(grpc.StatusCode.NOT_FOUND, trailing)))

    assert (error.code, error.message, error.reason) == ("NOT_FOUND", "what was wrong", None)


def test_time_to_wait_that_is_none_is_left_out(serve: Serve, ask: Ask) -> None:
    endless = Duration(seconds=2**62)
    code = grpc.StatusCode.UNAVAILABLE
    details = packed(code, error_details_pb2.RetryInfo(retry_delay=endless))

    error = error_of(ask, serve(GetServerInfo=failing(code, details)))

    assert type(error) is ServerUnavailableError
    assert error.retry_after is None
    assert error_from_stream(pb.Error(code=14, retry_after=endless)).retry_after is None


def test_a_status_that_this_version_does_not_know_is_a_protocol_error() -> None:
    assert error_class("TEAPOT") is ProtocolError


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidRequestError, ValueError),
        (LimitExceededError, ValueError),
        (DeadlineExceededError, TimeoutError),
        (ServerBusyError, ServerUnavailableError),
    ],
)
def test_errors_are_caught_as_what_they_are(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)
    assert issubclass(kind, AttentionError)


def test_no_grpc_error_shows_through(serve: Serve, ask: Ask) -> None:
    error = error_of(ask, serve(GetServerInfo=failing(grpc.StatusCode.INTERNAL)))

    assert grpc.RpcError not in type(error).__mro__
    assert error.__cause__ is None
    assert error.__context__ is None


def test_an_error_survives_pickling() -> None:
    error = InvalidRequestError(
        "no", reason=Reason.INVALID_SHAPE, violations=(FieldViolation("query", "no"),), code="X"
    )

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # its own

    assert type(copy) is InvalidRequestError
    assert vars(copy) == vars(error)


def test_where_nobody_listens_the_address_is_told(ask: Ask) -> None:
    error = error_of(ask, "127.0.0.1:1")

    assert type(error) is ServerUnavailableError
    assert "no server answers at 127.0.0.1:1" in error.message


def test_a_call_that_the_server_does_not_have_is_told(serve: Serve, ask: Ask) -> None:
    error = error_of(ask, serve())

    assert type(error) is NotImplementedByServerError


def test_a_message_over_the_servers_limit_is_too_large(serve: Serve, ask: Ask) -> None:
    address = serve(Attend=failing(grpc.StatusCode.INTERNAL))

    with pytest.raises(RequestTooLargeError, match="fewer sequences"):
        ask(address, lambda client: client.attend("sdpa", [[[0.0] * 2**21]], num_heads=1))
