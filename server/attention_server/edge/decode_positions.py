"""Positions: those that are given, or each query's place and each key's index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from attention_server.domain.errors import InvalidRequest, Violation
from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.places import places
from attention_server.domain.request import Int32Array, Mask, Sizes
from attention_server.edge import fields
from attention_service.reasons import Reason
from attention_service.tensor import Content, TensorForm
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Positions", "check_positions", "decode_positions"]

_LARGEST_POSITION = 2**31 - 1


class Positions(NamedTuple):
    """Positions of queries and keys; None for a model that does not use them."""

    query: Int32Array | None = None  # [batch or 1, query_len]
    key: Int32Array | None = None  # [batch or 1, kv_len]


def check_positions(
    message: pb.AttendRequest, model: Model, settings: AttentionSettings, mask: Mask, sizes: Sizes
) -> None:
    """Refuses positions that the model does not use, or the lack of those it needs.

    Raises:
        InvalidRequest: POSITIONS_NOT_USED, POSITIONS_REQUIRED, or a tensor that does not fit.
    """
    lengths = (
        ("query_positions", "query_len", sizes.query_len),
        ("key_positions", "kv_len", sizes.kv_len),
    )
    for field, name, length in lengths:
        if not message.HasField(field):  # type: ignore[arg-type]  # a literal in the stubs
            continue
        if model.positions == "none":
            raise InvalidRequest.of(
                Reason.POSITIONS_NOT_USED,
                field,
                "must be absent: this model does not use positions",
            )
        given = getattr(message, field)
        dims = fields.shape(given, field, 2)
        fields.check_shape(field, dims, (sizes.batch, length), f"[batch, {name}]")
        fields.check_type(given, field, fields.INTEGERS)
    if model.positions != "none" and not message.HasField("query_positions"):
        _check_places(settings, mask, sizes)


def decode_positions(
    model: Model,
    settings: AttentionSettings,
    mask: Mask,
    sizes: Sizes,
    forms: Mapping[str, TensorForm],
    data: Mapping[str, Content],
) -> Positions:
    """Returns the positions of a request that was checked, those that are absent filled in.

    Raises:
        InvalidRequest: Data that does not fit.
    """
    if model.positions == "none":
        return Positions()
    if "query_positions" in forms:
        query = _given("query_positions", forms, data)
    else:
        query = places(mask, settings, np.arange(sizes.query_len)).astype(np.int32)
    if "key_positions" in forms:
        key = _given("key_positions", forms, data)
    else:
        key = np.arange(sizes.kv_len, dtype=np.int32)[None]
    return Positions(query, key)


def _given(field: str, forms: Mapping[str, TensorForm], data: Mapping[str, Content]) -> Int32Array:
    return fields.whole_numbers(forms[field], data.get(field, b""), field)


def _check_places(settings: AttentionSettings, mask: Mask, sizes: Sizes) -> None:
    """Refuses a request that does not tell each query's place."""
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


def _check_offsets(mask: Mask, largest: int) -> None:
    assert mask.query_offsets is not None, "there are offsets to be checked"
    beyond = np.flatnonzero(mask.query_offsets > largest)[: InvalidRequest.MAX_VIOLATIONS + 1]
    if len(beyond):
        must = f"must be 0 to {largest}, so that every place is a position of 32 bits"
        raise InvalidRequest(
            Reason.OUT_OF_RANGE,
            *(Violation(f"mask.query_offsets[{i}]", must) for i in beyond),
        )
