"""How the SDK itself refuses: before anything is sent, naming the keyword at fault."""

from __future__ import annotations

from attention_client.errors import (
    FieldViolation,
    InvalidRequestError,
    error_class,
)
from attention_service.reasons import Reason


def refusal(argument: str, description: str, reason: Reason) -> InvalidRequestError:
    """Returns the error that says what is wrong with an argument, "must be ..." say."""
    kind = error_class("INVALID_ARGUMENT", reason)
    assert issubclass(kind, InvalidRequestError)
    violation = FieldViolation(field=argument, description=description)
    return kind(f"{argument}: {description}", reason=reason, violations=(violation,))
