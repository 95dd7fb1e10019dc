"""The one table from facts to gRPC statuses, and the details that go with them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from attention_server.domain import errors
from attention_service.reasons import DOMAIN, Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["STATUS_CODES", "Status", "abort", "in_band", "internal_error", "status_of"]

_log = logging.getLogger(__name__)

STATUS_CODES: Mapping[type[errors.RequestError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.LimitExceeded: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.QueueFull: grpc.StatusCode.UNAVAILABLE,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Abandoned: grpc.StatusCode.CANCELLED,
    errors.NotBuilt: grpc.StatusCode.UNIMPLEMENTED,
}


class Status(NamedTuple):
    """A gRPC status with its details."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...]


def status_of(error: BaseException) -> Status:
    """Returns the status that tells a fact; a fault of ours is logged, and told by an id."""
    if not isinstance(error, errors.RequestError):
        identifier = uuid.uuid4().hex[:16]
        _log.error("internal error %s", identifier, exc_info=error)
        return internal_error(identifier)
    details: list[Message] = [_info(error.reason)]
    if isinstance(error, errors.InvalidRequest):
        # What is wrong with the request as a whole is wrong with no field: the message says it.
        at_fault = [violation for violation in error.violations if violation.field]
        if at_fault:
            details.append(_bad_request(at_fault))
    if isinstance(error, errors.QueueFull):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return Status(STATUS_CODES[type(error)], error.message, tuple(details))


def internal_error(identifier: str) -> Status:
    """Returns the status of a fault of ours, which says no more than where the log has it."""
    return Status(
        grpc.StatusCode.INTERNAL,
        f"internal error {identifier}; the server's log has more under this id",
        (_info(Reason.INTERNAL, id=identifier),),
    )


def in_band(status: Status) -> pb.Error:
    """Returns a status as a stream carries it, which goes on."""
    error = pb.Error(code=status.code.value[0], message=status.message)
    for detail in status.details:
        if isinstance(detail, error_details_pb2.ErrorInfo):
            error.reason = detail.reason
        elif isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                error.violations.add(field=violation.field, description=violation.description)
        elif isinstance(detail, error_details_pb2.RetryInfo):
            error.retry_after.CopyFrom(detail.retry_delay)
    return error


async def abort(context: aio.ServicerContext[bytes, bytes], status: Status) -> NoReturn:
    """Ends the call with a status."""
    rich = status_pb2.Status(code=status.code.value[0], message=status.message)
    for detail in status.details:
        rich.details.append(_packed(detail))
    metadata = (("grpc-status-details-bin", rich.SerializeToString()),)
    await context.abort(status.code, status.message, metadata)
    raise AssertionError("abort returns never")


def _info(reason: Reason, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata)


def _bad_request(violations: Iterable[errors.Violation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in violations
        ]
    )


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
