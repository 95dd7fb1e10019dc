from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from attention_client import (
    InvalidRequestError,
    Reason,
    from_torch_attn_mask,
    from_torch_key_padding_mask,
)
from attention_service import reference

BATCH, HEADS, LENGTH, DIM = 2, 3, 4, 6
EMBEDDINGS = torch.randn(BATCH, LENGTH, DIM, generator=torch.Generator().manual_seed(0))
PADDING = torch.tensor([[False, False, False, True], [False, True, True, True]])
FUTURE = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
BY_HEAD = torch.stack([FUTURE.roll(shift, 0) for shift in range(BATCH * HEADS)])


def torch_weights(**masks: torch.Tensor) -> Any:
    """Weights [batch, heads, query_len, kv_len] by nn.MultiheadAttention, projecting nothing."""
    layer = nn.MultiheadAttention(DIM, HEADS, bias=False, batch_first=True)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(DIM).repeat(3, 1))
        _, weights = layer(EMBEDDINGS, EMBEDDINGS, EMBEDDINGS, average_attn_weights=False, **masks)
    return weights.numpy()


def our_weights(**masks: Any) -> Any:
    """The same by the reference, with the masks as keywords of ``attend``."""
    bias = masks.pop("attn_bias", None)
    heads = reference.split_heads(EMBEDDINGS.numpy(), HEADS)
    allowed = reference.may_attend(batch=BATCH, query_len=LENGTH, kv_len=LENGTH, **masks)
    return reference.attention(heads, heads, heads, attn_bias=bias, allowed=allowed).weights


def test_a_key_padding_mask_means_the_same_as_in_torch() -> None:
    expected = torch_weights(key_padding_mask=PADDING)

    weights = our_weights(key_mask=from_torch_key_padding_mask(PADDING))

    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize(
    "mask",
    [
        FUTURE,
        BY_HEAD,
        torch.zeros(LENGTH, LENGTH).masked_fill(FUTURE, -torch.inf),
        torch.linspace(-2, 2, LENGTH * LENGTH).reshape(LENGTH, LENGTH),
        torch.linspace(-2, 2, BY_HEAD.numel()).reshape(BY_HEAD.shape),
    ],
    ids=["bool", "bool by head", "forbidding", "float", "float by head"],
)
def test_an_attn_mask_means_the_same_as_in_torch(mask: torch.Tensor) -> None:
    expected = torch_weights(attn_mask=mask)

    weights = our_weights(**from_torch_attn_mask(mask, num_heads=HEADS))

    np.testing.assert_allclose(weights, expected, atol=1e-6)


FLOATS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}


def finite_mask(dtype: torch.dtype) -> torch.Tensor:
    """Forbids the future as transformers do, by the lowest finite number."""
    return torch.full((LENGTH, LENGTH), 0.5, dtype=dtype).masked_fill(
        FUTURE, torch.finfo(dtype).min
    )


@pytest.mark.parametrize("library", ["torch", "numpy"])
@pytest.mark.parametrize("name", FLOATS)
def test_the_lowest_number_of_a_masks_own_dtype_forbids(name: str, library: str) -> None:
    mask: Any = finite_mask(getattr(torch, name))
    if library == "numpy":
        mask = mask.double().numpy().astype(FLOATS[name])
    before = mask.copy() if library == "numpy" else mask.clone()

    bias = from_torch_attn_mask(mask)["attn_bias"]

    np.testing.assert_array_equal(
        bias.astype(np.float64), np.where(FUTURE.numpy(), -np.inf, 0.5), strict=True
    )
    assert (mask == before).all(), "the mask given is left alone"


@pytest.mark.parametrize("name", FLOATS)
def test_low_numbers_of_a_mask_are_left_alone(name: str) -> None:
    number = FLOATS[name]
    low = np.nextafter(np.nextafter(number("-inf"), number(0)), number(0))  # last but one
    mask = np.array([[low, 0]], number)

    np.testing.assert_array_equal(from_torch_attn_mask(mask)["attn_bias"], mask, strict=True)


def test_a_bfloat16_tensor_travels_as_float32() -> None:
    mask = torch.linspace(-2, 2, BY_HEAD.numel()).reshape(BY_HEAD.shape).bfloat16()

    bias = from_torch_attn_mask(mask, num_heads=HEADS)["attn_bias"]

    assert bias.dtype == np.float32
    np.testing.assert_array_equal(
        bias, mask.float().numpy().reshape(BATCH, HEADS, LENGTH, LENGTH), strict=True
    )


@pytest.mark.parametrize(
    ("mask", "num_heads", "reason", "says"),
    [
        (PADDING.int(), None, Reason.INVALID_DATA_TYPE, "boolean"),
        (FUTURE[0], None, Reason.INVALID_SHAPE, r"\[query_len, kv_len\]"),
        (BY_HEAD, None, Reason.INVALID_SHAPE, "num_heads"),
        (BY_HEAD, 4, Reason.INVALID_SHAPE, "6, not 4"),
        (BY_HEAD, 0, Reason.INVALID_SHAPE, "num_heads"),
        (BY_HEAD[None], 3, Reason.INVALID_SHAPE, "not of shape"),
    ],
)
def test_an_attn_mask_that_cannot_be_meant_is_refused(
    mask: torch.Tensor, num_heads: int | None, reason: Reason, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        from_torch_attn_mask(mask, num_heads=num_heads)

    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("mask", "reason", "says"),
    [
        (PADDING.float(), Reason.INVALID_DATA_TYPE, "attn_bias"),
        (PADDING.int(), Reason.INVALID_DATA_TYPE, "boolean"),
        (PADDING[0], Reason.INVALID_SHAPE, r"\[batch, kv_len\]"),
    ],
)
def test_a_key_padding_mask_that_cannot_be_meant_is_refused(
    mask: torch.Tensor, reason: Reason, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        from_torch_key_padding_mask(mask)

    assert caught.value.reason is reason
