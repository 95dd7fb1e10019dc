"""All masks as one bias, the same however a request is cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from attention_server.domain.masks import Block, MaskBuilder
from tests.unit.server.attend_requests import Dims, Masks, attend_request, cuttings, part_of
from tests.unit.server.domain.strategies import dims_and_masks


@given(dims_and_masks())
def test_blocks_hold_the_bias_that_the_contract_says(drawn: tuple[Dims, Masks]) -> None:
    dims, masks = drawn
    builder = MaskBuilder(attend_request(dims, masks))
    expected = masks.bias(dims.pairs)

    for cutting in cuttings(dims):
        for block in cutting:
            bias = builder.build(block).bias
            right = part_of(expected, block)
            actual = np.zeros_like(right) if bias is None else np.broadcast_to(bias, right.shape)
            assert np.array_equal(actual, right)


@given(dims_and_masks())
def test_blocks_together_count_every_fully_masked_row_of_real_queries_once(
    drawn: tuple[Dims, Masks],
) -> None:
    dims, masks = drawn
    builder = MaskBuilder(attend_request(dims, masks))
    lengths = masks.query_lengths or [dims.query_len] * dims.batch
    real = np.arange(dims.query_len) < np.array(lengths)[:, None]
    blind = (masks.bias(dims.pairs) == -np.inf).all(axis=-1)  # [batch, heads, query_len]
    expected = int((blind & real[:, None]).sum())

    for cutting in cuttings(dims):
        assert sum(builder.build(block).fully_masked_rows for block in cutting) == expected


@given(dims_and_masks())
def test_a_bias_broadcasts_over_batch_and_heads_alone(drawn: tuple[Dims, Masks]) -> None:
    # ONNX's Attention refuses a mask that broadcasts over queries.
    dims, masks = drawn
    builder = MaskBuilder(attend_request(dims, masks))

    for cutting in cuttings(dims):
        for block in cutting:
            bias = builder.build(block).bias
            if bias is None:
                continue
            assert bias.dtype == np.float32
            assert bias.flags.c_contiguous
            assert bias.shape[0] in (1, block.batch.stop - block.batch.start)
            assert bias.shape[1] in (1, block.heads.stop - block.heads.start)
            assert bias.shape[2:] == (block.queries.stop - block.queries.start, dims.kv_len)


_DIMS = Dims(batch=2, query_len=3, kv_len=3)
_ALL = Block(slice(0, 2), slice(0, 4), slice(0, 2), slice(0, 3))


@pytest.mark.parametrize(
    "masks",
    [Masks(), Masks(kv_lengths=[3, 3]), Masks(window=(2, 2)), Masks(query_lengths=[0, 1])],
    ids=["no mask", "full lengths", "a wide window", "query lengths alone"],
)
def test_without_anything_to_mask_there_is_no_bias(masks: Masks) -> None:
    built = MaskBuilder(attend_request(_DIMS, masks)).build(_ALL)

    assert built.bias is None
    assert built.fully_masked_rows == 0


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
