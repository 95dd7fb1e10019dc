"""Numbers and words among the keywords: whole, real, one a sequence, one of a few names."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attention_client._refusal import refusal
from attention_service.reasons import Reason

Integers: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
"""Whole numbers in a list, a tuple or an array of one dimension."""

_UINT32_MAX = 2**32 - 1
_INT64_MAX = 2**63 - 1


def whole(argument: str, value: SupportsIndex, *, low: int = 0, high: int = _UINT32_MAX) -> int:
    """Returns a whole number from low to high.

    Raises:
        InvalidRequestError: Anything else, booleans included.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError as error:
        raise refusal(
            argument, f"must be a whole number, not {value!r}", Reason.OUT_OF_RANGE
        ) from error
    if not low <= number <= high:
        raise refusal(argument, f"must be {low} to {high}, not {number}", Reason.OUT_OF_RANGE)
    return number


def real(argument: str, value: SupportsFloat) -> float:
    """Returns a finite real number.

    Raises:
        InvalidRequestError: Anything else.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise refusal(argument, f"must be a number, not {value!r}", Reason.OUT_OF_RANGE) from error
    if not math.isfinite(number):
        raise refusal(argument, f"must be finite, not {number}", Reason.NON_FINITE)
    return number


def flag(argument: str, value: object, otherwise: str = "") -> bool:
    """Returns whether; ``otherwise`` says what else would have been right.

    Raises:
        InvalidRequestError: Neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        expected = f"True, False or {otherwise}" if otherwise else "True or False"
        raise refusal(argument, f"must be {expected}, not {value!r}", Reason.OUT_OF_RANGE)
    return bool(value)


def one_a_sequence(argument: str, values: Integers | None) -> list[int]:
    """Returns whole numbers, one a sequence; none where the keyword is absent.

    Raises:
        InvalidRequestError: No list of whole numbers; an empty one would mean "absent".
    """
    if values is None:
        return []
    return _not_empty(argument, indices(argument, values, low=-_INT64_MAX - 1, high=_INT64_MAX))


def selected_heads(argument: str, values: Integers | None) -> list[int]:
    """Returns the indices of heads; none, which means all, where absent.

    Raises:
        InvalidRequestError: No indices; an empty list would mean "all".
    """
    return [] if values is None else _not_empty(argument, indices(argument, values))


def selected_queries(argument: str, values: Integers | None, *, query_len: int) -> list[int]:
    """Returns the indices of queries, negative ones counted from the end; none for all.

    Raises:
        InvalidRequestError: No indices, or too negative ones; an empty list would mean "all".
    """
    if values is None:
        return []
    signed = _not_empty(argument, indices(argument, values, low=-query_len))
    return [index + query_len if index < 0 else index for index in signed]


def indices(
    argument: str, values: Iterable[SupportsIndex], *, low: int = 0, high: int = _UINT32_MAX
) -> list[int]:
    """Returns a list of whole numbers from low to high.

    Raises:
        InvalidRequestError: Anything else.
    """
    try:
        if isinstance(values, (str, bytes)):
            raise TypeError
        listed = list(values)
    except TypeError as error:  # an array without dimensions too
        raise refusal(
            argument, f"must be a list of whole numbers, not {values!r}", Reason.INVALID_COUNT
        ) from error
    return [
        whole(f"{argument}[{place}]", value, low=low, high=high)
        for place, value in enumerate(listed)
    ]


def one_of(argument: str, value: object, names: Iterable[str]) -> str:
    """Returns the name.

    Raises:
        InvalidRequestError: None of the names.
    """
    known = tuple(names)
    if not isinstance(value, str) or value not in known:
        choice = ", ".join(repr(name) for name in known)
        raise refusal(argument, f"must be one of {choice}, not {value!r}", Reason.INVALID_ENUM)
    return value


def text(argument: str, value: object) -> str:
    """Returns the text; empty for None.

    Raises:
        InvalidRequestError: Anything that UTF-8 does not hold.
    """
    if value is None:
        return ""
    try:
        if not isinstance(value, str):
            raise TypeError
        value.encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise refusal(argument, f"must be text, not {value!r}", Reason.INVALID_NAME) from error
    return value


def version(argument: str, value: object) -> str:
    """Returns a version in decimal; empty, for the newest, where absent.

    Raises:
        InvalidRequestError: Neither text nor a positive whole number.
    """
    if isinstance(value, SupportsIndex):
        return str(whole(argument, value, low=1))
    return text(argument, value)


def _not_empty(argument: str, values: list[int]) -> list[int]:
    if not values:
        raise refusal(argument, "must be absent or not empty", Reason.INVALID_COUNT)
    return values
