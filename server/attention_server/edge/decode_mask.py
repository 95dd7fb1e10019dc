"""Masks: lengths, offsets, pairs and biases, each checked against the request's sizes."""

from __future__ import annotations

import numpy as np

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import AttentionSettings
from attention_server.domain.request import Mask, Sizes
from attention_server.edge import fields
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["decode_mask"]

_LARGEST_OFFSET = 2**31 - 1


def decode_mask(message: pb.AttendRequest, settings: AttentionSettings, sizes: Sizes) -> Mask:
    """Returns the masks of a request, lengths filled in.

    Raises:
        InvalidRequest: Lengths, offsets, shapes or values that do not fit.
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
    key_mask = None
    if mask.HasField("key_mask"):
        dims = fields.shape(mask.key_mask, "mask.key_mask", 2)
        fields.check_shape("mask.key_mask", dims, (batch, sizes.kv_len), "[batch, kv_len]")
        key_mask = fields.booleans(mask.key_mask, "mask.key_mask")
    attend_mask = None
    if mask.HasField("attend_mask"):
        dims = _pair_dims(mask.attend_mask, "mask.attend_mask", settings, sizes)
        attend_mask = fields.booleans(mask.attend_mask, "mask.attend_mask").reshape(dims)
    attn_bias = None
    if mask.HasField("attn_bias"):
        dims = _pair_dims(mask.attn_bias, "mask.attn_bias", settings, sizes)
        attn_bias = fields.biases(mask.attn_bias, "mask.attn_bias").reshape(dims)
    return Mask(
        kv_lengths=kv_lengths,
        query_lengths=query_lengths,
        query_offsets=fields.one_each(
            mask.query_offsets, "mask.query_offsets", batch, 0, _LARGEST_OFFSET
        ),
        key_mask=key_mask,
        attend_mask=attend_mask,
        attn_bias=attn_bias,
    )


def _pair_dims(
    message: pb.Tensor, field: str, settings: AttentionSettings, sizes: Sizes
) -> tuple[int, ...]:
    """Returns the four dimensions of a mask over pairs, each full or 1 but for the last."""
    dims = fields.shape(message, field, 2, 3, 4)
    batch, query_len, kv_len = sizes[:3]
    if len(dims) == 2:
        fields.check_shape(field, dims, (query_len, kv_len), "[query_len, kv_len]")
        return (1, 1, *dims)
    if len(dims) == 3:
        fields.check_shape(field, dims, (batch, query_len, kv_len), "[batch, query_len, kv_len]")
        return (dims[0], 1, *dims[1:])
    full = (batch, settings.num_heads, query_len, kv_len)
    allowed = all(size in (1, whole) for size, whole in zip(dims[:3], full[:3], strict=True))
    if not allowed or dims[3] != kv_len:
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            f"{field}.shape",
            f"must be [batch or 1, heads or 1, query_len or 1, kv_len] of {list(full)}, "
            f"not {list(dims)}",
        )
    return dims
