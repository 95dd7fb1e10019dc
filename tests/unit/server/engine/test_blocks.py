"""Blocks cover every row once, in the order that gatherers need, each within the limit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_server.domain.masks import Block
from attention_server.engine.blocks import BLOCK_SCORES, FAST_SCORES, blocks, head_runs
from tests.unit.server.attend_requests import Dims
from tests.unit.server.domain.strategies import dims as some_dims


def _blocks(dims: Dims, limit: int, **how: Any) -> list[Block]:
    return list(
        blocks(
            batch=dims.batch,
            query_len=dims.query_len,
            kv_len=dims.kv_len,
            head_dim=1,
            limit=limit,
            **{"runs": head_runs(dims.heads, dims.kv_heads), **how},
        )
    )


def _size(part: slice) -> int:
    return int(part.stop - part.start)


_LIMITS = st.integers(1, 3 * 9 * 5 * 6 + 1)  # from one row's part to more than all of the largest


@given(dims=some_dims(), limit=_LIMITS)
def test_every_row_is_in_exactly_one_block(dims: Dims, limit: int) -> None:
    covered = np.zeros(dims.pairs[:3], int)

    for block in _blocks(dims, limit):
        covered[block.batch, block.heads, block.queries] += 1

    assert (covered == 1).all()


@given(dims=some_dims(), limit=_LIMITS)
def test_a_block_is_within_the_limit_unless_it_is_a_single_row(dims: Dims, limit: int) -> None:
    for block in _blocks(dims, limit):
        rows = _size(block.batch) * _size(block.heads) * _size(block.queries)
        assert rows * dims.kv_len <= limit or rows == 1


@given(dims=some_dims(), limit=_LIMITS)
def test_a_block_has_the_key_and_value_heads_of_its_query_heads(dims: Dims, limit: int) -> None:
    group = dims.heads // dims.kv_heads

    for block in _blocks(dims, limit):
        needed = sorted({h // group for h in range(block.heads.start, block.heads.stop)})
        assert needed == list(range(block.kv_heads.start, block.kv_heads.stop))
        # ONNX's Attention gives each key and value head the same number of query heads.
        assert _size(block.heads) % _size(block.kv_heads) == 0


@given(dims=some_dims(), limit=_LIMITS)
def test_all_heads_of_some_queries_come_before_the_next_queries(dims: Dims, limit: int) -> None:
    cut = _blocks(dims, limit)
    starts = [(b.batch.start, b.queries.start, b.heads.start) for b in cut]

    assert starts == sorted(starts)
    for _, same_queries in itertools.groupby(cut, key=lambda b: (b.batch.start, b.queries.start)):
        assert list(same_queries)[-1].heads.stop == dims.heads


@given(dims=some_dims())
def test_what_fits_the_limit_is_one_block(dims: Dims) -> None:
    whole = int(np.prod(dims.pairs))

    assert len(_blocks(dims, whole)) == 1
    assert len(_blocks(dims, whole - 1)) > 1 or whole == dims.kv_len


_DIMS = Dims(batch=4, heads=6, kv_heads=3, query_len=8, kv_len=10)


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (1920, (4, 6, 8)),
        (1919, (3, 6, 8)),
        (480, (1, 6, 8)),
        (479, (1, 4, 8)),
        (160, (1, 2, 8)),
        (159, (1, 1, 8)),
        (79, (1, 1, 7)),
        (1, (1, 1, 1)),
    ],
)
def test_few_queries_are_cut_after_sequences_and_heads(
    limit: int, sizes: tuple[int, int, int]
) -> None:
    block = _blocks(_DIMS, limit)[0]

    assert (_size(block.batch), _size(block.heads), _size(block.queries)) == sizes


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [(256 * 60, (1, 6, 256)), (256 * 60 - 1, (1, 4, 383)), (256 * 10, (1, 1, 256))],
)
def test_heads_are_cut_before_a_head_has_fewer_than_256_queries(
    limit: int, sizes: tuple[int, int, int]
) -> None:
    block = _blocks(replace(_DIMS, query_len=4096), limit)[0]

    assert (_size(block.batch), _size(block.heads), _size(block.queries)) == sizes


_LONG = Dims(batch=1, heads=16, kv_heads=16, query_len=4096, kv_len=4096)


def test_unless_told_otherwise_a_block_takes_16_mebibytes() -> None:
    first = _blocks(_LONG, BLOCK_SCORES)[0]

    assert 4 * _size(first.heads) * _size(first.queries) * 4096 == 4 * BLOCK_SCORES == 16 << 20


def test_where_no_row_is_kept_a_block_is_what_caches_hold() -> None:
    first = _blocks(_LONG, BLOCK_SCORES, rows_kept=False)[0]

    assert _size(first.heads) * _size(first.queries) * 4096 == FAST_SCORES


@pytest.mark.parametrize(("threads", "heads", "queries"), [(1, 1, 256), (2, 2, 128), (4, 4, 64)])
def test_each_thread_has_a_head_to_itself(threads: int, heads: int, queries: int) -> None:
    longer = replace(_LONG, query_len=16_384, kv_len=16_384)

    first = _blocks(longer, BLOCK_SCORES, rows_kept=False, threads=threads)[0]

    assert (_size(first.heads), _size(first.queries)) == (heads, queries)


@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_blocks_computed_at_once_have_no_more_scores_than_one_alone(at_once: int) -> None:
    first = _blocks(_LONG, BLOCK_SCORES, rows_kept=False, at_once=at_once)[0]

    assert at_once * _size(first.heads) * _size(first.queries) * 4096 <= BLOCK_SCORES


@given(dims=some_dims(), limit=_LIMITS, threads=st.integers(1, 8))
def test_whatever_the_threads_a_block_is_within_the_limit(
    dims: Dims, limit: int, threads: int
) -> None:
    covered = np.zeros(dims.pairs[:3], int)

    for block in _blocks(dims, limit, rows_kept=False, rows_differ=True, threads=threads):
        rows = _size(block.batch) * _size(block.heads) * _size(block.queries)
        assert rows * dims.kv_len <= limit or rows == 1
        covered[block.batch, block.heads, block.queries] += 1

    assert (covered == 1).all()


def test_where_rows_see_other_keys_than_others_256_queries_stand_in_a_block_at_most() -> None:
    dims = Dims(batch=1, heads=2, kv_heads=2, query_len=600, kv_len=10)

    together = _blocks(dims, BLOCK_SCORES, rows_kept=False)
    apart = _blocks(dims, BLOCK_SCORES, rows_kept=False, rows_differ=True)

    assert [_size(block.queries) for block in together] == [600]
    assert [_size(block.queries) for block in apart] == [256, 256, 88]


@given(dims=some_dims(), limit=_LIMITS, data=st.data())
def test_chosen_heads_and_no_others_are_covered(
    dims: Dims, limit: int, data: st.DataObject
) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(0, dims.heads - 1), min_size=1)))
    group = dims.heads // dims.kv_heads
    covered = np.zeros(dims.pairs[:3], int)

    runs = head_runs(dims.heads, dims.kv_heads, np.array(chosen))
    for block in _blocks(dims, limit, runs=runs):
        covered[block.batch, block.heads, block.queries] += 1
        needed = sorted({h // group for h in range(block.heads.start, block.heads.stop)})
        assert needed == list(range(block.kv_heads.start, block.kv_heads.stop))
        assert _size(block.heads) % _size(block.kv_heads) == 0

    expected = np.zeros_like(covered)
    expected[:, chosen] = 1
    assert np.array_equal(covered, expected)
