"""Cuts a request into blocks of rows, so that its memory is bounded whatever its size."""

from __future__ import annotations

from collections.abc import Iterator

from attention_server.domain.masks import Block

__all__ = ["BLOCK_SCORES", "blocks", "blocks_of_sequences"]

BLOCK_SCORES = 1 << 22
"""Scores computed at once: 16 MiB in float32."""

_ROWS_WORTH_A_PRODUCT = 256  # fewer queries of a head make its matrix products slow


def blocks(
    *,
    batch: int,
    num_heads: int,
    num_kv_heads: int,
    query_len: int,
    row: int,
    limit: int = BLOCK_SCORES,
) -> Iterator[Block]:
    """Yields blocks that together cover every row once, each of at most ``limit`` numbers.

    A row is never cut: the softmax needs all of it. Queries are cut first, down to 256 a block,
    then sequences, then key and value heads, then the query heads that share one, then the queries
    left. All heads of some queries come before the next queries.

    Args:
        batch: Sequences.
        num_heads: Query heads.
        num_kv_heads: Key and value heads, a divisor of ``num_heads``.
        query_len: Queries of a sequence.
        row: Numbers in the longest row of all that a block computes: of scores or head outputs.
        limit: Most numbers in a block.
    """
    group = num_heads // num_kv_heads
    wanted = min(query_len, _ROWS_WORTH_A_PRODUCT) * row
    sequences = max(1, min(batch, limit // (num_heads * wanted)))
    kv_heads = max(1, min(num_kv_heads, limit // (sequences * group * wanted)))
    shared = group if kv_heads > 1 else max(1, min(group, limit // wanted))
    queries = max(1, limit // (sequences * kv_heads * shared * row))
    for b in range(0, batch, sequences):
        for q in range(0, query_len, queries):
            for k in range(0, num_kv_heads, kv_heads):
                last_kv_head = min(k + kv_heads, num_kv_heads)
                for h in range(k * group, last_kv_head * group, kv_heads * shared):
                    yield Block(
                        batch=slice(b, min(b + sequences, batch)),
                        heads=slice(h, min(h + kv_heads * shared, last_kv_head * group)),
                        kv_heads=slice(k, last_kv_head),
                        queries=slice(q, min(q + queries, query_len)),
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
        )
