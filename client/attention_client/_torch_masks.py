"""PyTorch's masks as this SDK's keywords: there true means masked, here it means "may attend"."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from attention_client import _arrays
from attention_client._arrays import Array
from attention_client._refusal import refusal
from attention_service.reasons import Reason

__all__ = ["AttnMaskKeywords", "from_torch_attn_mask", "from_torch_key_padding_mask"]


_LOWEST_BFLOAT16 = np.array(0xFF7F0000, np.uint32).view(np.float32)
"""-3.3895314e38, torch.finfo(torch.bfloat16).min."""


class AttnMaskKeywords(TypedDict, total=False):
    """The keyword of ``attend`` that says what an attn_mask says."""

    attend_mask: NDArray[np.bool_]
    attn_bias: NDArray[Any]


def from_torch_key_padding_mask(key_padding_mask: Array) -> NDArray[np.bool_]:
    """Returns the ``key_mask`` that means what a key_padding_mask of nn.MultiheadAttention means.

    Args:
        key_padding_mask: Bool [batch, kv_len], true where a key is padding.

    Returns:
        Bool [batch, kv_len], true where a query may attend to the key.

    Raises:
        InvalidRequestError: No boolean array of two dimensions.
    """
    argument = "key_padding_mask"
    array = _arrays.as_array(argument, key_padding_mask)
    if array.dtype != np.bool_:
        raise refusal(
            argument,
            f"must be boolean, true where a key is padding, not {array.dtype}: "
            "one that is added to the scores is attn_bias=key_padding_mask[:, None, None, :]",
            Reason.INVALID_DATA_TYPE,
        )
    if array.ndim != 2:
        raise refusal(
            argument,
            f"must be [batch, kv_len], not of shape {list(array.shape)}",
            Reason.INVALID_SHAPE,
        )
    key_mask: NDArray[np.bool_] = np.logical_not(array)
    return key_mask


def from_torch_attn_mask(attn_mask: Array, *, num_heads: int | None = None) -> AttnMaskKeywords:
    """Returns the keyword of ``attend`` that means what nn.MultiheadAttention's attn_mask means.

    ``client.attend(model, query, **from_torch_attn_mask(mask))``. The boolean attn_mask of
    ``torch.nn.functional.scaled_dot_product_attention`` is the other way round: that one is
    ``attend_mask`` as it is.

    In masks made with ``torch.finfo(dtype).min`` that number means "may not attend". ``attn_bias``
    knows it of float32 only, so here the lowest finite number of the mask's own dtype becomes
    -inf: give the mask in the dtype in which it was made.

    Args:
        attn_mask: Bool, true where a query may not attend, or float, added to the scores;
            [query_len, kv_len] or [batch * num_heads, query_len, kv_len]. A bfloat16 tensor of
            torch may come as it is.
        num_heads: Query heads, needed for three dimensions.

    Returns:
        ``{"attend_mask": ...}`` for booleans, true where a query may attend, or
        ``{"attn_bias": ...}`` for floats, -inf where a query may not attend; [query_len, kv_len]
        or [batch, num_heads, query_len, kv_len].

    Raises:
        InvalidRequestError: Neither booleans nor floats, or a shape that does not fit.
    """
    argument = "attn_mask"
    widened = _widened(attn_mask)
    array = _arrays.as_array(argument, attn_mask if widened is None else widened)
    if array.ndim == 3:
        array = _by_heads(argument, array, num_heads)
    elif array.ndim != 2:
        raise refusal(
            argument,
            "must be [query_len, kv_len] or [batch * num_heads, query_len, kv_len], "
            f"not of shape {list(array.shape)}",
            Reason.INVALID_SHAPE,
        )
    if array.dtype == np.bool_:
        return {"attend_mask": np.logical_not(array)}
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return {"attn_bias": _forbidding(array, was_bfloat16=widened is not None)}
    raise refusal(
        argument,
        f"must be boolean, true where a query may not attend, or float, not {array.dtype}",
        Reason.INVALID_DATA_TYPE,
    )


def _by_heads(argument: str, array: NDArray[Any], num_heads: int | None) -> NDArray[Any]:
    """Returns [batch * num_heads, ...] as [batch, num_heads, ...]."""
    rows, query_len, kv_len = array.shape
    if num_heads is None or num_heads < 1 or rows % num_heads:
        raise refusal(
            argument,
            f"must come with num_heads, a divisor of the first of its three dimensions, {rows}, "
            f"not {num_heads}",
            Reason.INVALID_SHAPE,
        )
    return array.reshape(rows // num_heads, num_heads, query_len, kv_len)


def _widened(attn_mask: Any) -> Any:
    """Returns a bfloat16 tensor of torch as float32, for numpy reads none; None for all else."""
    is_bfloat16 = str(getattr(attn_mask, "dtype", None)) == "torch.bfloat16"
    return attn_mask.float() if is_bfloat16 else None


def _forbidding(array: NDArray[Any], *, was_bfloat16: bool) -> NDArray[Any]:
    """Returns the bias with -inf in place of the lowest finite number of the mask's dtype."""
    number = array.dtype.type
    # numpy's finfo does not know the bfloat16 of ml_dtypes, nextafter does.
    lowest = _LOWEST_BFLOAT16 if was_bfloat16 else np.nextafter(number("-inf"), number(0))
    forbidding: NDArray[Any] = np.where(array <= lowest, number("-inf"), array)
    return forbidding
