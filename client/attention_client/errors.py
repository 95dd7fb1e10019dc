"""Every error of the SDK, one tree.

    AttentionError
    ├── InvalidRequestError (ValueError)     refused: the message says what would be right
    │   ├── LimitExceededError               over a limit of the server, the answer's size included
    │   └── NonFiniteError                   NaN, infinity or overflow, in the request or computing
    ├── RequestTooLargeError                 larger than a message may be
    ├── ModelNotFoundError                   no such model, or no such version of it
    ├── UnauthenticatedError                 no or wrong credentials
    ├── PermissionDeniedError                not allowed
    ├── ServerUnavailableError               no server answers there, or it is shutting down
    │   └── ServerBusyError                  too much is waiting
    ├── DeadlineExceededError (TimeoutError) no answer in time
    ├── RequestCancelledError                given up before it was answered
    ├── NotImplementedByServerError          known to the contract, not built in this server
    ├── InternalServerError                  a fault of the server
    ├── ProtocolError                        an answer that the contract does not have
    └── ClientClosedError (RuntimeError)     the client was closed before the call

What a server answers becomes one of these by ``error_class``: by its reason where it has one,
else by its gRPC status code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from attention_service.reasons import Reason

__all__ = [
    "CLASS_BY_CODE",
    "CLASS_BY_REASON",
    "AttentionError",
    "ClientClosedError",
    "DeadlineExceededError",
    "FieldViolation",
    "InternalServerError",
    "InvalidRequestError",
    "LimitExceededError",
    "ModelNotFoundError",
    "NonFiniteError",
    "NotImplementedByServerError",
    "PermissionDeniedError",
    "ProtocolError",
    "RequestCancelledError",
    "RequestTooLargeError",
    "ServerBusyError",
    "ServerUnavailableError",
    "UnauthenticatedError",
    "error_class",
]


@dataclass(frozen=True)
class FieldViolation:
    """A field at fault."""

    field: str
    """Path of the field, "mask.kv_lengths[2]" say; a keyword where no server had to be known."""
    description: str
    """What is wrong with it."""


class AttentionError(Exception):
    """Anything that keeps a call from its result."""

    message: str
    """What was wrong and what would be right."""
    reason: Reason | str | None
    """Name of the fact; None where gRPC itself answered."""
    violations: tuple[FieldViolation, ...]
    """Fields at fault."""
    code: str | None
    """Name of the gRPC status, "INVALID_ARGUMENT" say; None where nothing was sent."""
    retry_after: float | None
    """Seconds after which the server expects to do better; None where it did not say."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = violations
        self.code = code
        self.retry_after = retry_after


class InvalidRequestError(AttentionError, ValueError):
    """The request is refused; sending it again cannot help."""


class LimitExceededError(InvalidRequestError):
    """The request is over a limit of this server; ``reason`` names the limit."""


class NonFiniteError(InvalidRequestError):
    """NaN, infinity or overflow: in what was sent, or in what is computed from it."""


class RequestTooLargeError(AttentionError):
    """The message is larger than the transport takes; sending it again cannot help."""


class ModelNotFoundError(AttentionError):
    """The server holds no such model, or no such version of it."""


class UnauthenticatedError(AttentionError):
    """The server wants credentials, or other ones."""


class PermissionDeniedError(AttentionError):
    """The credentials are known, but do not allow this."""


class ServerUnavailableError(AttentionError):
    """No server answers, or it is shutting down; the only error that the SDK retries."""


class ServerBusyError(ServerUnavailableError):
    """Too much is waiting on the server; ``retry_after`` says when to try again."""


class DeadlineExceededError(AttentionError, TimeoutError):
    """There was no answer within the call's timeout."""


class RequestCancelledError(AttentionError):
    """The call was given up: the client was closed meanwhile, or the server let it go."""


class NotImplementedByServerError(AttentionError):
    """The server does not have this call, or not yet."""


class InternalServerError(AttentionError):
    """A fault of the server; the message holds the id under which its log has more."""


class ProtocolError(AttentionError):
    """An answer that the contract does not have: another service, or a proxy, answered."""


class ClientClosedError(AttentionError, RuntimeError):
    """The client was closed before the call."""


CLASS_BY_CODE: Mapping[str, type[AttentionError]] = MappingProxyType(
    {
        "CANCELLED": RequestCancelledError,
        "UNKNOWN": ProtocolError,
        "INVALID_ARGUMENT": InvalidRequestError,
        "DEADLINE_EXCEEDED": DeadlineExceededError,
        "NOT_FOUND": ModelNotFoundError,
        "ALREADY_EXISTS": ProtocolError,
        "PERMISSION_DENIED": PermissionDeniedError,
        "RESOURCE_EXHAUSTED": RequestTooLargeError,
        "FAILED_PRECONDITION": ProtocolError,
        "ABORTED": ProtocolError,
        "OUT_OF_RANGE": ProtocolError,
        "UNIMPLEMENTED": NotImplementedByServerError,
        "INTERNAL": InternalServerError,
        "UNAVAILABLE": ServerUnavailableError,
        "DATA_LOSS": ProtocolError,
        "UNAUTHENTICATED": UnauthenticatedError,
    }
)
"""What each gRPC status means where no reason of ours says more."""

CLASS_BY_REASON: Mapping[Reason, type[AttentionError]] = MappingProxyType(
    {
        Reason.MALFORMED_MESSAGE: InvalidRequestError,
        Reason.MISSING_FIELD: InvalidRequestError,
        Reason.INVALID_NAME: InvalidRequestError,
        Reason.INVALID_ENUM: InvalidRequestError,
        Reason.INVALID_DATA_TYPE: InvalidRequestError,
        Reason.INVALID_SHAPE: InvalidRequestError,
        Reason.INVALID_BYTE_LENGTH: InvalidRequestError,
        Reason.INVALID_COUNT: InvalidRequestError,
        Reason.OUT_OF_RANGE: InvalidRequestError,
        Reason.INVALID_HEADS: InvalidRequestError,
        Reason.MASK_NOT_SUPPORTED: InvalidRequestError,
        Reason.POSITIONS_NOT_USED: InvalidRequestError,
        Reason.POSITIONS_REQUIRED: InvalidRequestError,
        Reason.OUTPUT_NOT_SUPPORTED: InvalidRequestError,
        Reason.NON_FINITE: NonFiniteError,
        Reason.SCORE_OVERFLOW: NonFiniteError,
        Reason.VALUE_OVERFLOW: NonFiniteError,
        Reason.MESSAGE_LIMIT: RequestTooLargeError,
        Reason.BATCH_LIMIT: LimitExceededError,
        Reason.LENGTH_LIMIT: LimitExceededError,
        Reason.WORK_LIMIT: LimitExceededError,
        Reason.TENSOR_LIMIT: LimitExceededError,
        Reason.ANSWER_LIMIT: LimitExceededError,
        Reason.MODEL_NOT_FOUND: ModelNotFoundError,
        Reason.VERSION_NOT_FOUND: ModelNotFoundError,
        Reason.QUEUE_FULL: ServerBusyError,
        Reason.SHUTTING_DOWN: ServerUnavailableError,
        Reason.DEADLINE_EXCEEDED: DeadlineExceededError,
        Reason.CANCELLED: RequestCancelledError,
        Reason.NOT_IMPLEMENTED: NotImplementedByServerError,
        Reason.INTERNAL: InternalServerError,
    }
)
"""What each reason of the service means."""


def error_class(code: str, reason: Reason | str | None = None) -> type[AttentionError]:
    """Returns the error for a gRPC status and, where the server named one, its reason.

    A reason that this version does not know leaves it to the status; a status that it does not
    know is a ``ProtocolError``.
    """
    if isinstance(reason, Reason):
        return CLASS_BY_REASON[reason]
    return CLASS_BY_CODE.get(code, ProtocolError)
