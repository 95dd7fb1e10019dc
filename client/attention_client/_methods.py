"""What a client's methods show of the calls that they build."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

MethodT = TypeVar("MethodT", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)

_ARGUMENTS = re.compile(r"^Args:\n(.*?)(?=^$|\Z)", re.DOTALL | re.MULTILINE)
_ARGUMENT = re.compile(r"^    (\w+): .*\n(?:^     .*\n)*", re.MULTILINE)


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


def explained_by(other: type) -> Callable[[ClassT], ClassT]:
    """Gives a call's documentation the keywords that another one's explains.

    What a call says of a keyword itself goes first.
    """

    def explain(call: ClassT) -> ClassT:
        explained = _explanations(other) | _explanations(call)
        keywords = inspect.signature(call).parameters
        lines = "".join(explained.get(name, "") for name in keywords)
        call.__doc__ = _ARGUMENTS.sub(lambda _: f"Args:\n{lines}", inspect.getdoc(call) or "")
        return call

    return explain


def _explanations(call: type) -> dict[str, str]:
    """Returns the lines that explain each keyword."""
    documentation = inspect.cleandoc(call.__doc__ or "") + "\n"
    arguments = _ARGUMENTS.search(documentation)
    found = [] if arguments is None else _ARGUMENT.finditer(arguments[1])
    return {match[1]: match[0] for match in found}
