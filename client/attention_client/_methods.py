"""What a client's methods show of the calls that they build."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def described_as(name: str, build: Callable[..., Any]) -> Callable[[MethodT], MethodT]:
    """Gives a method the keywords and the documentation of the call that it builds."""

    def describe(method: MethodT) -> MethodT:
        keywords = inspect.signature(build).parameters.values()
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.Signature([itself, *keywords])
        method.__signature__ = signature  # type: ignore[attr-defined]  # inspect.signature reads it
        method.__doc__ = build.__doc__
        method.__name__ = name
        return method

    return describe
