"""How the SDK itself refuses, before anything is sent."""

from __future__ import annotations

from attention_client.errors import (
    AttentionError,
    FieldViolation,
    InvalidRequestError,
    error_class,
)
from attention_service.limits import OverLimit
from attention_service.reasons import Reason


def refusal(argument: str, description: str, reason: Reason) -> InvalidRequestError:
    """Returns the error that says what is wrong with an argument, "must be ..." say."""
    kind = error_class("INVALID_ARGUMENT", reason)
    assert issubclass(kind, InvalidRequestError)
    violation = FieldViolation(field=argument, description=description)
    return kind(f"{argument}: {description}", reason=reason, violations=(violation,))


def limit_refusal(over: OverLimit) -> AttentionError:
    """Returns the error that the server would answer with."""
    kind = error_class("INVALID_ARGUMENT", over.reason)
    if not over.field:
        return kind(over.description, reason=over.reason)
    violation = FieldViolation(field=over.field, description=over.description)
    return kind(f"{over.field}: {over.description}", reason=over.reason, violations=(violation,))
