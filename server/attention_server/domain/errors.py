"""Facts about requests that have no answer. The edge gives each its status code.

RequestError
├── InvalidRequest        the request is malformed or contradicts itself
│   └── LimitExceeded     it asks for more than the server gives
├── ModelNotFound
├── QueueFull             too much is waiting
├── ShuttingDown
├── DeadlinePassed
├── Abandoned             the caller went away
└── NotBuilt              part of the contract that this server does not do yet
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from attention_service.reasons import Reason

__all__ = [
    "Abandoned",
    "DeadlinePassed",
    "InvalidRequest",
    "LimitExceeded",
    "ModelNotFound",
    "NotBuilt",
    "QueueFull",
    "RequestError",
    "ShuttingDown",
    "Violation",
]


class Violation(NamedTuple):
    """A field at fault."""

    field: str
    """Path in the request, "mask.kv_lengths[2]" say."""
    description: str
    """What is wrong with it and what would be right."""


class RequestError(Exception):
    """A request that has no answer; the message is for the caller."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidRequest(RequestError):
    """The request is malformed or contradicts itself."""

    MAX_VIOLATIONS: ClassVar[int] = 16

    def __init__(self, reason: Reason, *violations: Violation) -> None:
        first = violations[0]
        message = f"{first.field}: {first.description}" if first.field else first.description
        others = len(violations) - 1
        if others:
            message += " (and more)" if others >= self.MAX_VIOLATIONS else f" (and {others} more)"
        super().__init__(reason, message)
        self.violations = violations[: self.MAX_VIOLATIONS]
        self._all = violations

    @classmethod
    def of(cls, reason: Reason, field: str, description: str) -> InvalidRequest:
        """Returns the error of one field."""
        return cls(reason, Violation(field, description))

    def within(self, field: str) -> InvalidRequest:
        """Returns the same error of a request that is this field of another."""
        moved = (v._replace(field=f"{field}.{v.field}" if v.field else "") for v in self._all)
        return type(self)(self.reason, *moved)


class LimitExceeded(InvalidRequest):
    """The request asks for more than the server gives."""


class ModelNotFound(RequestError):
    """No such model, or no such version of it."""


class QueueFull(RequestError):
    """Too much is waiting."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            Reason.QUEUE_FULL,
            f"too much is waiting; try again in {retry_after_seconds:g} s",
        )
        self.retry_after_seconds = retry_after_seconds


class ShuttingDown(RequestError):
    """The server is draining."""

    def __init__(self) -> None:
        super().__init__(Reason.SHUTTING_DOWN, "the server is shutting down")


class DeadlinePassed(RequestError):
    """The time that the caller gave, or has, is over."""

    def __init__(self, message: str = "the deadline passed before the answer was computed") -> None:
        super().__init__(Reason.DEADLINE_EXCEEDED, message)


class Abandoned(RequestError):
    """The caller went away."""

    def __init__(self) -> None:
        super().__init__(Reason.CANCELLED, "the caller gave the request up")


class NotBuilt(RequestError):
    """Part of the contract that this server does not do yet."""

    def __init__(self, what: str) -> None:
        super().__init__(Reason.NOT_IMPLEMENTED, f"{what} is not implemented by this server yet")
