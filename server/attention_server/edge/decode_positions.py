"""Positions: those that are given, or each query's place and each key's index."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attention_server.domain.errors import InvalidRequest, Violation
from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.places import places
from attention_server.domain.request import Int32Array, Mask, Sizes
from attention_server.edge import fields
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Positions", "check_no_positions", "decode_positions"]

_LARGEST_POSITION = 2**31 - 1


class Positions(NamedTuple):
    """Positions of queries and keys; None for a model that does not use them."""

    query: Int32Array | None = None  # [batch or 1, query_len]
    key: Int32Array | None = None  # [batch or 1, kv_len]


def check_no_positions(message: pb.AttendRequest) -> None:
    """Refuses the positions of a request to a model that does not use them.

    Raises:
        InvalidRequest: POSITIONS_NOT_USED.
    """
    for field in ("query_positions", "key_positions"):
        if message.HasField(field):
            raise InvalidRequest.of(
                Reason.POSITIONS_NOT_USED,
                field,
                "must be absent: this model does not use positions",
            )


def decode_positions(
    message: pb.AttendRequest, model: Model, settings: AttentionSettings, mask: Mask, sizes: Sizes
) -> Positions:
    """Returns the positions of a request, those that are absent filled in.

    Raises:
        InvalidRequest: Positions that do not fit, or that the model needs.
    """
    if model.positions == "none":
        return Positions()
    if message.HasField("query_positions"):
        query = _given(message.query_positions, "query_positions", sizes.batch, sizes.query_len)
    else:
        query = _places(settings, mask, sizes)
    if message.HasField("key_positions"):
        key = _given(message.key_positions, "key_positions", sizes.batch, sizes.kv_len)
    else:
        key = np.arange(sizes.kv_len, dtype=np.int32)[None]
    return Positions(query, key)


def _given(message: pb.Tensor, field: str, batch: int, length: int) -> Int32Array:
    dims = fields.shape(message, field, 2)
    name = "query_len" if field == "query_positions" else "kv_len"
    fields.check_shape(field, dims, (batch, length), f"[batch, {name}]")
    return fields.whole_numbers(message, field)


def _places(settings: AttentionSettings, mask: Mask, sizes: Sizes) -> Int32Array:
    """Returns each query's place, where the request tells it."""
    told = settings.causal != "none" or mask.query_offsets is not None
    if not told and sizes.query_len != sizes.kv_len:
        raise InvalidRequest.of(
            Reason.POSITIONS_REQUIRED,
            "query_positions",
            f"must be given: this model uses positions, and where {sizes.query_len} queries stand "
            f"among {sizes.kv_len} keys only a causal mode or mask.query_offsets would say",
        )
    if mask.query_offsets is not None:
        _check_offsets(mask, _LARGEST_POSITION - (sizes.query_len - 1))
    return places(mask, settings, np.arange(sizes.query_len)).astype(np.int32)


def _check_offsets(mask: Mask, largest: int) -> None:
    assert mask.query_offsets is not None, "there are offsets to be checked"
    beyond = np.flatnonzero(mask.query_offsets > largest)[: InvalidRequest.MAX_VIOLATIONS + 1]
    if len(beyond):
        must = f"must be 0 to {largest}, so that every place is a position of 32 bits"
        raise InvalidRequest(
            Reason.OUT_OF_RANGE,
            *(Violation(f"mask.query_offsets[{i}]", must) for i in beyond),
        )
