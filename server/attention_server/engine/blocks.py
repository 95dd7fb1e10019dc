"""Cuts a request into blocks of rows, so that its memory is bounded whatever its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.masks import Block

__all__ = [
    "BLOCK_SCORES",
    "FAST_SCORES",
    "HeadRun",
    "blocks",
    "blocks_of_heads",
    "blocks_of_sequences",
    "head_runs",
]

BLOCK_SCORES = 1 << 22
"""Most scores computed at once: 16 MiB in float32."""

FAST_SCORES = 1 << 21
"""Scores to compute at once where none are kept: what caches hold, if not fewer."""

_ROWS_WORTH_A_PRODUCT = 256  # fewer queries of a head make its matrix products slow


class HeadRun(NamedTuple):
    """Query heads side by side and their key and value heads.

    Several key and value heads have all their query heads in it; one may have a part of them.
    """

    heads: slice
    kv_heads: slice


def head_runs(
    num_heads: int, num_kv_heads: int, chosen: NDArray[np.intp] | None = None
) -> list[HeadRun]:
    """Returns the runs that the chosen heads, ascending, are made of; None for all heads."""
    if chosen is None:
        return [HeadRun(slice(0, num_heads), slice(0, num_kv_heads))]
    group = num_heads // num_kv_heads
    breaks = np.diff(chosen) > 1
    if group > 1:
        breaks |= np.diff(chosen // group) > 0
    runs = np.split(chosen, np.flatnonzero(breaks) + 1)
    return [
        HeadRun(
            slice(int(run[0]), int(run[-1]) + 1),
            slice(int(run[0]) // group, int(run[-1]) // group + 1),
        )
        for run in runs
        if len(run)
    ]


def blocks(
    *,
    batch: int,
    runs: Sequence[HeadRun],
    query_len: int,
    kv_len: int,
    head_dim: int,
    rows_kept: bool = True,
    rows_differ: bool = False,
    threads: int = 1,
    at_once: int = 1,
    limit: int = BLOCK_SCORES,
) -> Iterator[Block]:
    """Yields blocks that together cover every row once, ``limit`` numbers at most at once.

    A row is never cut: the softmax needs all of it. Queries are cut first, down to 256 a block,
    then sequences, then key and value heads, then the query heads that share one, then the queries
    left. All heads of some queries come before the next queries. Each block has all keys.

    Args:
        batch: Sequences.
        runs: Heads to compute.
        query_len: Queries of a sequence.
        kv_len: Keys of a sequence.
        head_dim: Size of a head, of query and key or of value, whichever is larger.
        rows_kept: Whether a block's rows of scores or weights go into the answer: small blocks
            would only be copied. They pay where rows are used and forgotten.
        rows_differ: Whether some queries see other keys than others: then 256 of them stand in a
            block at most, so that few keys are computed for those who do not see them.
        threads: Threads of a run, each of which takes whole heads.
        at_once: Blocks that are computed at the same time.
        limit: Most numbers in these blocks together.
    """
    # 12 heads of 64, causal, 2 threads, ms: 512 tokens 5.4, at once 6.2; 1,024 tokens 27, at once
    # 56; 4,096 tokens 215 in blocks of 2 heads and 256 queries, 271 of 128 queries, 255 of 4 heads
    # and 128 queries, with ONNX Runtime's own causality 480.
    row = max(kv_len, head_dim)
    aim = (limit if rows_kept else min(limit, FAST_SCORES)) // at_once
    limit //= at_once
    num_heads = sum(_size(run.heads) for run in runs)
    num_kv_heads = max(_size(run.kv_heads) for run in runs)
    group = max(_size(run.heads) // _size(run.kv_heads) for run in runs)
    wanted = min(query_len, _ROWS_WORTH_A_PRODUCT) * row
    sequences = max(1, min(batch, aim // (num_heads * wanted)))
    kv_heads = max(1, min(num_kv_heads, aim // (sequences * group * wanted)))
    shared = group if kv_heads > 1 else max(1, min(group, aim // wanted))
    heads_wanted = max(1, min(threads, limit // row))
    if sequences * kv_heads * shared < heads_wanted:
        shared = min(group, heads_wanted)
        kv_heads = max(1, min(num_kv_heads, heads_wanted // group))
    heads_at_once = sequences * kv_heads * shared
    queries = max(1, aim // (heads_at_once * row))
    if queries < _ROWS_WORTH_A_PRODUCT:
        queries = max(1, min(_ROWS_WORTH_A_PRODUCT, limit // (heads_at_once * row)))
    if rows_differ and not rows_kept:
        queries = min(queries, _ROWS_WORTH_A_PRODUCT)
    for b in range(0, batch, sequences):
        for q in range(0, query_len, queries):
            for run in runs:
                for part in _parts(run, kv_heads, shared):
                    yield Block(
                        batch=slice(b, min(b + sequences, batch)),
                        heads=part.heads,
                        kv_heads=part.kv_heads,
                        queries=slice(q, min(q + queries, query_len)),
                        keys=slice(0, kv_len),
                    )


def _parts(run: HeadRun, kv_heads: int, shared: int) -> Iterator[HeadRun]:
    """Yields a run cut to so many key and value heads, or to so many that share one."""
    first_head, last_head = run.heads.start, run.heads.stop
    group = _size(run.heads) // _size(run.kv_heads)
    for k in range(0, _size(run.kv_heads), kv_heads):
        last = min(k + kv_heads, _size(run.kv_heads))
        step = (last - k) * group if kv_heads > 1 else shared
        for h in range(first_head + k * group, first_head + last * group, step):
            yield HeadRun(
                slice(h, min(h + step, first_head + last * group, last_head)),
                slice(run.kv_heads.start + k, run.kv_heads.start + last),
            )


def blocks_of_heads(
    *,
    batch: int,
    num_heads: int,
    num_kv_heads: int,
    query_len: int,
    kv_len: int,
    head_dim: int,
    at_once: int = 1,
) -> Iterator[Block]:
    """Yields blocks of whole heads, of one sequence each: for what needs no memory for scores.

    Of several that are computed ``at_once`` each has one key and value head.
    """
    group = num_heads // num_kv_heads
    kv_heads = max(1, BLOCK_SCORES // (kv_len * head_dim)) if at_once == 1 else 1
    for b in range(batch):
        for k in range(0, num_kv_heads, kv_heads):
            last = min(k + kv_heads, num_kv_heads)
            yield Block(
                batch=slice(b, b + 1),
                heads=slice(k * group, last * group),
                kv_heads=slice(k, last),
                queries=slice(0, query_len),
                keys=slice(0, kv_len),
            )


def blocks_of_sequences(
    *, batch: int, num_heads: int, num_kv_heads: int, query_len: int, kv_len: int
) -> Iterator[Block]:
    """Yields blocks of whole sequences, each of at most BLOCK_SCORES scores, or of one sequence."""
    sequences = max(1, BLOCK_SCORES // (num_heads * query_len * kv_len))
    for b in range(0, batch, sequences):
        yield Block(
            batch=slice(b, min(b + sequences, batch)),
            heads=slice(0, num_heads),
            kv_heads=slice(0, num_kv_heads),
            queries=slice(0, query_len),
            keys=slice(0, kv_len),
        )


def _size(part: slice) -> int:
    return int(part.stop - part.start)
