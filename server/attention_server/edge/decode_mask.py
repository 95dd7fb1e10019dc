"""Masks: lengths, offsets, pairs and biases, each checked against the request's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import AttentionSettings
from attention_server.domain.request import Mask, Sizes
from attention_server.edge import fields
from attention_service.reasons import Reason
from attention_service.tensor import Content, TensorForm
from attention_service.v1 import attention_pb2 as pb

__all__ = ["check_mask", "decode_mask"]

_LARGEST_OFFSET = 2**31 - 1


def check_mask(message: pb.AttendRequest, settings: AttentionSettings, sizes: Sizes) -> Mask:
    """Returns the masks of a request but for their tensors, lengths filled in; reads no tensor.

    Raises:
        InvalidRequest: Lengths, offsets, shapes or element types that do not fit.
    """
    mask, batch = message.mask, sizes.batch
    kv_lengths = fields.one_each(mask.kv_lengths, "mask.kv_lengths", batch, 0, sizes.kv_len)
    query_lengths = fields.one_each(
        mask.query_lengths, "mask.query_lengths", batch, 0, sizes.query_len
    )
    if query_lengths is None and kv_lengths is not None and not message.HasField("key"):
        query_lengths = kv_lengths  # self-attention: the queries are the keys
    if query_lengths is None:
        query_lengths = np.full(batch, sizes.query_len, np.int64)
    if kv_lengths is None:
        kv_lengths = np.full(batch, sizes.kv_len, np.int64)
    if mask.HasField("key_mask"):
        dims = fields.shape(mask.key_mask, "mask.key_mask", 2)
        fields.check_shape("mask.key_mask", dims, (batch, sizes.kv_len), "[batch, kv_len]")
        fields.check_type(mask.key_mask, "mask.key_mask", fields.BOOLEANS)
    if mask.HasField("attend_mask"):
        _check_pairs(mask.attend_mask, "mask.attend_mask", settings, sizes)
        fields.check_type(mask.attend_mask, "mask.attend_mask", fields.BOOLEANS)
    if mask.HasField("attn_bias"):
        _check_pairs(mask.attn_bias, "mask.attn_bias", settings, sizes)
        fields.check_type(mask.attn_bias, "mask.attn_bias", fields.FLOATS)
    query_offsets = fields.one_each(
        mask.query_offsets, "mask.query_offsets", batch, 0, _LARGEST_OFFSET
    )
    for array in (kv_lengths, query_lengths, query_offsets):
        if array is not None:
            array.setflags(write=False)  # other requests may have the same
    return Mask(kv_lengths, query_lengths, query_offsets)


def decode_mask(mask: Mask, forms: Mapping[str, TensorForm], data: Mapping[str, Content]) -> Mask:
    """Returns the masks of a request, from what ``check_mask`` returned.

    Args:
        mask: All but its tensors.
        forms: The tensors of the request, by their paths.
        data: The data of each.

    Raises:
        InvalidRequest: Data that does not fit.
    """
    tensors: dict[str, Any] = {}
    path = "mask.key_mask"
    if path in forms:
        tensors["key_mask"] = fields.booleans(forms[path], data.get(path, b""), path)
    path = "mask.attend_mask"
    if path in forms:
        attend_mask = fields.booleans(forms[path], data.get(path, b""), path)
        tensors["attend_mask"] = _of_four_dims(attend_mask)
    path = "mask.attn_bias"
    if path in forms:
        attn_bias = fields.biases(forms[path], data.get(path, b""), path)
        tensors["attn_bias"] = _of_four_dims(attn_bias)
    return replace(mask, **tensors) if tensors else mask


def _of_four_dims(pairs: NDArray[Any]) -> NDArray[Any]:
    """Returns a mask over pairs as [batch or 1, heads or 1, query_len or 1, kv_len]."""
    if pairs.ndim == 2:  # [query_len, kv_len]
        return pairs[None, None]
    return pairs[:, None] if pairs.ndim == 3 else pairs


def _check_pairs(message: pb.Tensor, field: str, settings: AttentionSettings, sizes: Sizes) -> None:
    """Refuses a mask over pairs with other dimensions than full ones or, but for the last, 1."""
    dims = fields.shape(message, field, 2, 3, 4)
    batch, query_len, kv_len = sizes[:3]
    if len(dims) == 2:
        fields.check_shape(field, dims, (query_len, kv_len), "[query_len, kv_len]")
        return
    if len(dims) == 3:
        fields.check_shape(field, dims, (batch, query_len, kv_len), "[batch, query_len, kv_len]")
        return
    full = (batch, settings.num_heads, query_len, kv_len)
    allowed = all(size in (1, whole) for size, whole in zip(dims[:3], full[:3], strict=True))
    if not allowed or dims[3] != kv_len:
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            f"{field}.shape",
            f"must be [batch or 1, heads or 1, query_len or 1, kv_len] of {list(full)}, "
            f"not {list(dims)}",
        )
