"""The input rule: which arrays travel as they are, which are converted, which are refused.

Floats: float32, float16 and bfloat16 (of ml_dtypes) travel as they are, whatever their memory
order; other real numbers and lists become float32. Masks: booleans only. Positions: integers, as
int32. Whatever numpy can read counts as an array, through ``__array__`` or ``__dlpack__``.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attention_client._refusal import refusal
from attention_service.reasons import Reason


@runtime_checkable
class SupportsDLPack(Protocol):
    """An array of another library, in memory that numpy can reach."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...
    def __dlpack_device__(self) -> Any: ...


Array: TypeAlias = ArrayLike | SupportsDLPack
"""Anything that numpy reads as an array: its own, lists, torch CPU tensors, DLPack."""

_FLOATS = frozenset({"float32", "float16", "bfloat16"})
_FLOAT32 = np.dtype(np.float32)


def embeddings(argument: str, value: Array) -> NDArray[Any]:
    """Returns embeddings as floats [batch, length, dim].

    Raises:
        InvalidRequestError: No real numbers, beyond float32, or another number of dimensions.
    """
    array = _floats(argument, value, overflow="raise")
    if array.ndim != 3:
        hint = {
            2: f"; for one sequence pass {argument}[None]",
            4: "; heads are joined: array.transpose(0, 2, 1, 3).reshape(batch, length, -1)",
        }.get(array.ndim, "")
        raise refusal(
            argument,
            f"must be [batch, length, dim], not of shape {list(array.shape)}{hint}",
            Reason.INVALID_SHAPE,
        )
    return array


def bias(argument: str, value: Array) -> NDArray[Any]:
    """Returns what is added to scores as floats; what is beyond float32 becomes infinite.

    Raises:
        InvalidRequestError: No real numbers.
    """
    return _floats(argument, value, overflow="ignore")


def mask(argument: str, value: Array) -> NDArray[np.bool_]:
    """Returns a mask in which true means "may attend".

    Raises:
        InvalidRequestError: Anything but booleans, for a 0/1 mask can be meant either way round.
    """
    array = as_array(argument, value)
    if array.dtype != np.bool_:
        raise refusal(
            argument,
            f"must be boolean, true where a query may attend, not {array.dtype}: "
            "a 0/1 mask in which 1 means so is mask.astype(bool), "
            "a mask that is added to the scores is attn_bias",
            Reason.INVALID_DATA_TYPE,
        )
    return array


def positions(argument: str, value: Array) -> NDArray[np.int32]:
    """Returns positions as int32.

    Raises:
        InvalidRequestError: Anything but integers within int32.
    """
    array = as_array(argument, value)
    if array.dtype.kind not in "iu":
        raise refusal(argument, f"must be integers, not {array.dtype}", Reason.INVALID_DATA_TYPE)
    int32 = np.iinfo(np.int32)
    if array.size and (array.min() < int32.min or array.max() > int32.max):
        raise refusal(argument, "must be within int32", Reason.OUT_OF_RANGE)
    return array.astype(np.int32, copy=False)


def as_array(argument: str, value: Array) -> NDArray[Any]:
    """Returns what numpy reads, without a copy where it can do without.

    Raises:
        InvalidRequestError: Nothing that numpy reads as an array of numbers or booleans.
    """
    if type(value) is np.ndarray and value.dtype != object:  # what follows takes longer to say so
        return value
    try:
        if isinstance(value, SupportsDLPack) and not hasattr(value, "__array__"):
            array: NDArray[Any] = np.from_dlpack(value)
        else:
            array = np.asarray(value)
    except Exception as error:  # whatever a foreign array's own conversion raises
        kind = type(value).__name__
        hint = (
            "rows of lists must be of one length"
            if isinstance(value, (list, tuple))
            else "a torch tensor needs .detach().cpu(), and .float() where it is bfloat16"
        )
        raise refusal(
            argument,
            f"must be an array: numpy cannot read this {kind} ({hint}): {error}",
            Reason.INVALID_DATA_TYPE,
        ) from error
    if array.dtype == object:
        raise refusal(
            argument,
            f"must be an array of numbers or booleans, not {type(value).__name__} of objects",
            Reason.INVALID_DATA_TYPE,
        )
    return array


def _floats(argument: str, value: Array, *, overflow: Literal["raise", "ignore"]) -> NDArray[Any]:
    """Returns floats that travel; "raise" or "ignore" says what to do beyond float32."""
    array = as_array(argument, value)
    if array.dtype is _FLOAT32 or array.dtype.name in _FLOATS:  # to ask for the name takes longer
        return array
    if array.dtype.kind not in "fiu":
        hint = "; a boolean mask is attend_mask or key_mask" if array.dtype == np.bool_ else ""
        raise refusal(
            argument, f"must be real numbers, not {array.dtype}{hint}", Reason.INVALID_DATA_TYPE
        )
    try:
        with np.errstate(over=overflow):
            return array.astype(np.float32)
    except FloatingPointError as error:
        raise refusal(argument, "must be within float32", Reason.NON_FINITE) from error
