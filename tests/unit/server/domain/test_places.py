"""Where queries stand, and the stretch of keys that length, causality and window leave them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from attention_server.domain.places import places, sees_every_key, sight
from tests.unit.server.attend_requests import Dims, Masks, attend_request, domain_mask
from tests.unit.server.domain.strategies import dims_and_masks

_DIMS = Dims(batch=2, query_len=3, kv_len=7)
_QUERIES = np.arange(3)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        (Masks(), [[0, 1, 2]]),
        (Masks(causal="upper_left", kv_lengths=[7, 4]), [[0, 1, 2]]),
        (Masks(causal="lower_right"), [[4, 5, 6], [4, 5, 6]]),
        (
            Masks(causal="lower_right", kv_lengths=[7, 4], query_lengths=[3, 2]),
            [[4, 5, 6], [2, 3, 4]],
        ),
        (
            Masks(causal="lower_right", kv_lengths=[1, 0], query_lengths=[3, 2]),
            [[-2, -1, 0], [-2, -1, 0]],
        ),
        (Masks(query_offsets=[0, 5]), [[0, 1, 2], [5, 6, 7]]),
        (Masks(causal="upper_left", query_offsets=[0, 5]), [[0, 1, 2], [5, 6, 7]]),
        (Masks(causal="lower_right", query_offsets=[0, 5]), [[0, 1, 2], [5, 6, 7]]),
        (Masks(query_offsets=[0, 2**31 - 1]), [[0, 1, 2], [2**31 - 1, 2**31, 2**31 + 1]]),
    ],
    ids=[
        "index",
        "upper_left is the index",
        "lower_right ends at the last key",
        "lower_right ends at each sequence's last real key",
        "lower_right begins before the first key",
        "offsets",
        "offsets with upper_left",
        "offsets win over lower_right",
        "the largest offset",
    ],
)
def test_place_of_each_query(masks: Masks, expected: list[list[int]]) -> None:
    request = attend_request(_DIMS, masks)

    assert places(request.mask, request.settings, _QUERIES).tolist() == expected


@pytest.mark.parametrize(
    ("masks", "dims"),
    [
        (Masks(), _DIMS),
        (Masks(kv_lengths=[7, 7], query_lengths=[1, 2]), _DIMS),
        (Masks(query_offsets=[3, 4]), _DIMS),
        (Masks(window=(6, 6)), _DIMS),
        (Masks(causal="lower_right"), replace(_DIMS, query_len=1)),
        (Masks(causal="upper_left", query_offsets=[6, 9]), _DIMS),
    ],
    ids=[
        "no mask",
        "full kv_lengths",
        "offsets that nothing counts from",
        "a window wider than the keys",
        "the next token, causal",
        "places behind the last key, causal",
    ],
)
def test_where_every_key_is_in_sight_there_is_nothing_to_mask(masks: Masks, dims: Dims) -> None:
    assert sees_every_key(attend_request(dims, masks))


@given(dims_and_masks())
def test_sight_is_what_the_contract_says_of_lengths_causality_and_window(
    drawn: tuple[Dims, Masks],
) -> None:
    dims, masks = drawn
    masks = replace(masks, key_mask=None, attend_mask=None, attn_bias=None)
    request = replace(attend_request(dims, masks), mask=domain_mask(dims, masks))

    seen = sight(request, np.arange(dims.query_len))

    expected = masks.allowed(dims.batch, dims.query_len, dims.kv_len)[:, 0]
    keys = np.arange(dims.kv_len)
    actual = (keys >= seen.first[..., None]) & (keys < seen.end[..., None])
    assert np.array_equal(np.broadcast_to(actual, expected.shape), expected)
    assert sees_every_key(request) == expected.all()


@given(dims_and_masks())
def test_sight_of_some_queries_of_some_sequences_is_a_part_of_all(
    drawn: tuple[Dims, Masks],
) -> None:
    request = attend_request(*drawn)
    queries, last = np.arange(request.query_len), slice(request.batch - 1, request.batch)

    whole, part = sight(request, queries), sight(request, queries[1:], last)

    for all_rows, rows in zip(whole, part, strict=True):
        every = np.broadcast_to(all_rows, (request.batch, request.query_len))
        assert np.array_equal(rows, every[last, 1:])
