"""All masks as one bias, the same however a request is cut into blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_server.domain.masks import Block, MaskBuilder, fully_masked_rows
from attention_server.domain.request import Float32Array
from tests.unit.server.attend_requests import Dims, Masks, attend_request, cuttings, part_of
from tests.unit.server.domain.strategies import dims_and_masks


@given(dims_and_masks())
def test_blocks_hold_the_bias_that_the_contract_says(drawn: tuple[Dims, Masks]) -> None:
    dims, masks = drawn
    expected = masks.bias(dims.pairs)

    for cutting in cuttings(dims):
        builder = MaskBuilder(attend_request(dims, masks))
        for block in cutting:
            _check_bias(builder, block, part_of(expected, block))


@given(dims_and_masks())
def test_blocks_of_the_keys_that_they_see_hold_the_bias_of_these(drawn: tuple[Dims, Masks]) -> None:
    dims, masks = drawn
    expected = masks.bias(dims.pairs)

    for cutting in cuttings(dims):
        builder = MaskBuilder(attend_request(dims, masks))
        for block in cutting:
            seen = block._replace(keys=builder.keys(block))
            _check_bias(builder, seen, part_of(expected, seen))


@given(dims_and_masks(), st.data())
def test_blocks_of_some_queries_hold_the_bias_of_these(
    drawn: tuple[Dims, Masks], data: st.DataObject
) -> None:
    dims, masks = drawn
    some = data.draw(st.sets(st.integers(0, dims.query_len - 1), min_size=1).map(sorted))
    expected = masks.bias(dims.pairs)[:, :, some]

    for cutting in cuttings(replace(dims, query_len=len(some))):
        builder = MaskBuilder(attend_request(dims, masks), np.array(some))
        for block in cutting:
            seen = block._replace(keys=builder.keys(block))
            _check_bias(builder, seen, part_of(expected, seen))


def _check_bias(builder: MaskBuilder, block: Block, right: Float32Array) -> None:
    bias = builder.build(block).bias
    if bias is None:
        assert not right.any()
        return
    assert np.array_equal(np.broadcast_to(bias, right.shape), right)
    # ONNX's Attention refuses a mask that broadcasts over queries.
    assert bias.dtype == np.float32
    assert bias.flags.c_contiguous
    assert bias.shape[0] in (1, right.shape[0])
    assert bias.shape[1] in (1, right.shape[1])
    assert bias.shape[2:] == right.shape[2:]


@given(dims_and_masks())
def test_keys_are_those_from_the_first_to_the_last_that_any_row_sees(
    drawn: tuple[Dims, Masks],
) -> None:
    dims, masks = drawn
    by_place = replace(masks, key_mask=None, attend_mask=None, attn_bias=None)
    allowed = by_place.bias(dims.pairs) == 0
    builder = MaskBuilder(attend_request(dims, masks))

    for cutting in cuttings(dims):
        for block in cutting:
            seen = np.flatnonzero(part_of(allowed, block).any(axis=(0, 1, 2)))
            expected = slice(seen[0], seen[-1] + 1) if len(seen) else slice(0, 1)
            assert builder.keys(block) == expected


@given(dims_and_masks())
def test_fully_masked_rows_are_those_of_real_queries_in_all_heads(
    drawn: tuple[Dims, Masks],
) -> None:
    dims, masks = drawn
    lengths = masks.query_lengths or [dims.query_len] * dims.batch
    real = np.arange(dims.query_len) < np.array(lengths)[:, None]
    blind = (masks.bias(dims.pairs) == -np.inf).all(axis=-1)  # [batch, heads, query_len]

    expected = int((blind & real[:, None]).sum())
    assert fully_masked_rows(attend_request(dims, masks)) == expected
    with pytest.MonkeyPatch.context() as patch:  # sequence by sequence, as large requests are
        patch.setattr("attention_server.domain.masks._PLACES_AT_ONCE", 1)
        assert fully_masked_rows(attend_request(dims, masks)) == expected


@given(dims_and_masks())
def test_the_same_for_every_query_is_what_no_mask_but_lengths_keeps_from_any(
    drawn: tuple[Dims, Masks],
) -> None:
    dims, masks = drawn
    if not MaskBuilder(attend_request(dims, masks)).same_for_every_query:
        return
    bias = masks.bias(dims.pairs)
    assert (bias == bias[:, :1, :1]).all()
    assert set(np.unique(bias)) <= {-np.inf, 0.0}


_DIMS = Dims(batch=2, query_len=3, kv_len=3)
_ALL = Block(slice(0, 2), slice(0, 4), slice(0, 2), slice(0, 3), slice(0, 3))


@pytest.mark.parametrize(
    "masks",
    [Masks(), Masks(kv_lengths=[3, 3]), Masks(window=(2, 2)), Masks(query_lengths=[0, 1])],
    ids=["no mask", "full lengths", "a wide window", "query lengths alone"],
)
def test_without_anything_to_mask_there_is_no_bias(masks: Masks) -> None:
    builder = MaskBuilder(attend_request(_DIMS, masks))

    assert builder.build(_ALL).bias is None
    assert builder.same_for_every_query


def test_a_bias_of_zeros_is_added_all_the_same() -> None:
    zeros = np.zeros((1, 1, 1, 3), np.float32)

    bias = MaskBuilder(attend_request(_DIMS, Masks(attn_bias=zeros))).build(_ALL).bias

    assert bias is not None
    assert not bias.any()


def test_what_a_mask_forbids_no_bias_allows() -> None:
    bias = np.full((1, 1, 3, 3), 1e30, np.float32)
    nobody = np.zeros((1, 1, 3, 3), np.bool_)

    built = MaskBuilder(attend_request(_DIMS, Masks(attend_mask=nobody, attn_bias=bias)))

    forbidden = built.build(_ALL).bias
    assert forbidden is not None
    assert (forbidden == -np.inf).all()
