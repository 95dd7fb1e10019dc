"""What a failed RPC says, as an error of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from attention_client.errors import (
    AttentionError,
    DeadlineExceededError,
    FieldViolation,
    NotImplementedByServerError,
    RequestTooLargeError,
    ServerUnavailableError,
    error_class,
)
from attention_service.reasons import DOMAIN, Reason
from attention_service.v1 import attention_pb2 as pb

_CODES: Mapping[int, str] = MappingProxyType({code.value[0]: code.name for code in grpc.StatusCode})
_DETAILS_KEY = "grpc-status-details-bin"

_WORDS: Mapping[type[AttentionError], str] = MappingProxyType(
    {
        DeadlineExceededError: "no answer from {address} within {timeout:g} s",
        NotImplementedByServerError: "{address} does not serve this call: {message}",
        RequestTooLargeError: "{message}; send fewer sequences at once",
        ServerUnavailableError: "no server answers at {address}: {message}",
    }
)
"""What to say where gRPC answered in the server's place."""


class _FailedRpc(Protocol):
    """What sync and async gRPC errors have in common, and their declared base has not."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...] | None: ...


def error_from_rpc(rpc_error: grpc.RpcError, *, address: str, timeout: float) -> AttentionError:
    """Returns what the server, or gRPC itself, says went wrong.

    Args:
        rpc_error: What a call of the sync or async API raised.
        address: Whom it was sent to, for errors in which no server spoke.
        timeout: What the whole call was given, seconds.
    """
    failed = cast("_FailedRpc", rpc_error)
    code = failed.code().name
    message = failed.details() or f"the server answered {code} without a message"
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry_info = error_details_pb2.RetryInfo()
    status = _status_of(failed)
    for detail in (info, bad_request, retry_info):
        _unpack(status, detail)

    reason = _reason(info)
    kind = error_class(code, reason)
    if reason is None:
        in_our_words = _WORDS.get(kind, "{message}")
        message = in_our_words.format(message=message, address=address, timeout=timeout)
    return kind(
        message,
        reason=reason,
        violations=tuple(
            FieldViolation(field=violation.field, description=violation.description)
            for violation in bad_request.field_violations
        ),
        code=code,
        retry_after=(
            _seconds(retry_info.retry_delay) if retry_info.HasField("retry_delay") else None
        ),
    )


def error_from_stream(error: pb.Error) -> AttentionError:
    """Returns what the server says went wrong with one request of a stream."""
    code = _CODES.get(error.code, "UNKNOWN")
    reason = _known(error.reason)
    return error_class(code, reason)(
        error.message or f"the server answered {code} without a message",
        reason=reason,
        violations=tuple(
            FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ),
        code=code,
        retry_after=_seconds(error.retry_after) if error.HasField("retry_after") else None,
    )


def _seconds(delay: Duration) -> float | None:
    """Returns a time in seconds; None where it is too long to be one."""
    try:
        return delay.ToTimedelta().total_seconds()
    except OverflowError:
        return None


def _status_of(failed: _FailedRpc) -> status_pb2.Status:
    """Returns the details that came along; none where they cannot be read."""
    status = status_pb2.Status()
    for key, value in failed.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:  # a proxy's, not ours: code and message still say what happened
                return status_pb2.Status()
    return status


def _unpack(status: status_pb2.Status, detail: Message) -> None:
    """Fills in the first detail of this type, if there is one."""
    for packed in status.details:
        try:
            if packed.Unpack(detail):
                return
        except DecodeError:
            detail.Clear()


def _reason(info: error_details_pb2.ErrorInfo) -> Reason | str | None:
    """Returns the reason; as plain text where this version does not know it."""
    return _known(info.reason) if info.domain == DOMAIN else info.reason or None


def _known(reason: str) -> Reason | str | None:
    """Returns a reason of the service; as plain text where this version does not know it."""
    return Reason[reason] if reason in Reason.__members__ else reason or None
