"""Positions of a request: those given, or what the contract says of those that are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import AttentionSettings, Model, ModelKey
from attention_server.edge.decode import decode
from attention_service.limits import Limits
from attention_service.manifest import Causal
from attention_service.reasons import Reason
from attention_service.reference import places
from attention_service.v1 import attention_pb2 as pb
from tests.messages import array, floats

BATCH, LENGTH, KEYS = 2, 3, 5
LIMITS = Limits(message_bytes=1 << 26, batch=256, length=65_536, work=1 << 36, stream_bytes=1 << 30)
HIGHEST = 2**31 - 1
MODEL = Model(
    key=ModelKey("m", "1"),
    query_dim=8,
    key_dim=8,
    value_dim=8,
    output_dim=8,
    head_dim=4,
    value_head_dim=4,
    defaults=AttentionSettings(2, 2, 0.5, causal="upper_left"),
    positions="rotary",
)


def positions(message: pb.AttendRequest, causal: Causal = "upper_left") -> tuple[Any, Any]:
    """Returns both positions of a request to a model of this causality, as lists."""
    model = replace(MODEL, defaults=replace(MODEL.defaults, causal=causal))
    request = decode(message, Catalog([model]), LIMITS).request
    assert request.query_positions is not None
    assert request.key_positions is not None
    assert request.query_positions.dtype == request.key_positions.dtype == np.int32
    return request.query_positions.tolist(), request.key_positions.tolist()


def cross(**fields: Any) -> pb.AttendRequest:
    return pb.AttendRequest(
        model="m", query=floats(BATCH, LENGTH, 8), key=floats(BATCH, KEYS, 8), **fields
    )


def itself(**fields: Any) -> pb.AttendRequest:
    return pb.AttendRequest(model="m", query=floats(BATCH, LENGTH, 8), **fields)


MASKS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "lengths": {"kv_lengths": [3, 1]},
    "both lengths": {"kv_lengths": [3, 2], "query_lengths": [1, 3]},
    "offsets": {"query_offsets": [7, 0]},
    "offsets and lengths": {"query_offsets": [7, 0], "kv_lengths": [3, 1]},
}


TOLD = [
    pytest.param(mask, causal, itself_, id=f"{mask}, {causal}, {'itself' if itself_ else 'others'}")
    for mask in MASKS
    for causal in ("upper_left", "lower_right", "none")
    for itself_ in (True, False)
    if causal != "none" or itself_ or "query_offsets" in MASKS[mask]
]


@pytest.mark.parametrize(("mask", "causal", "itself_"), TOLD)
def test_absent_positions_are_the_places_and_the_keys(
    mask: str, causal: Causal, itself_: bool
) -> None:
    given = MASKS[mask]
    message = (itself if itself_ else cross)(mask=pb.Mask(**given))
    keys = LENGTH if itself_ else KEYS
    lengths = {"query_lengths": given.get("kv_lengths") if itself_ else None, **given}
    expected = places(batch=BATCH, query_len=LENGTH, kv_len=keys, causal=causal, **lengths)

    queries, key = positions(message, causal)

    assert np.array_equal(np.broadcast_to(queries, (BATCH, LENGTH)), expected)
    assert key == [list(range(keys))]


def test_places_before_the_first_key_are_positions_below_zero() -> None:
    mask = pb.Mask(kv_lengths=[1, 5], query_lengths=[3, 3])

    assert positions(cross(mask=mask), "lower_right")[0] == [[-2, -1, 0], [2, 3, 4]]


def test_given_positions_are_taken_as_they_are() -> None:
    query, key = [[3, 3, HIGHEST], [0, 1, 2]], [[9, 8, 7, 6, 5], [0] * 5]
    message = cross(
        query_positions=array(query, np.int32),
        key_positions=array(key, np.int32),
        mask=pb.Mask(causal=pb.CAUSAL_MODE_NONE),
    )

    assert positions(message) == (query, key)


def test_given_positions_of_queries_leave_those_of_keys() -> None:
    query = [[3, 4, 5], [7, 7, 7]]

    assert positions(itself(query_positions=array(query, np.int32))) == (query, [[0, 1, 2]])


def test_query_positions_are_required_where_nothing_says_the_places() -> None:
    with pytest.raises(InvalidRequest) as refused:
        positions(cross(), "none")

    assert refused.value.reason is Reason.POSITIONS_REQUIRED
    assert refused.value.message == (
        "query_positions: must be given: this model uses positions, and where 3 queries stand "
        "among 5 keys only a causal mode or mask.query_offsets would say"
    )


def test_last_place_may_be_the_highest_position() -> None:
    mask = pb.Mask(query_offsets=[HIGHEST - 2, 0])

    assert positions(cross(mask=mask))[0][0] == [HIGHEST - 2, HIGHEST - 1, HIGHEST]


def test_places_beyond_32_bits_are_refused_unless_positions_are_given() -> None:
    message = cross(mask=pb.Mask(query_offsets=[HIGHEST - 1, 0]))
    with pytest.raises(InvalidRequest, match=rf"offsets\[0\]: must be 0 to {HIGHEST - 2}"):
        positions(message)

    message.query_positions.CopyFrom(array(np.zeros((BATCH, LENGTH)), np.int32))
    assert positions(message)[0] == [[0] * 3] * 2


def test_model_without_positions_has_none() -> None:
    model = replace(MODEL, positions="none")

    request = decode(cross(), Catalog([model]), LIMITS).request

    assert (request.query_positions, request.key_positions) == (None, None)
