"""Cuts a request into blocks of rows, so that its memory is bounded whatever its size."""

from __future__ import annotations

from collections.abc import Iterator

from attention_server.domain.masks import Block

__all__ = ["BLOCK_SCORES", "blocks"]

BLOCK_SCORES = 1 << 24
"""Scores computed at once: 64 MiB in float32."""


def blocks(
    *,
    batch: int,
    num_heads: int,
    num_kv_heads: int,
    query_len: int,
    kv_len: int,
    limit: int = BLOCK_SCORES,
) -> Iterator[Block]:
    """Yields blocks that together cover every row once, each of at most ``limit`` scores.

    A row is never cut: the softmax needs all of it. Queries are cut first, then sequences, then
    key and value heads, then the query heads that share one. All heads of some queries come
    before the next queries.
    """
    group = num_heads // num_kv_heads
    sequences = batch if batch * num_heads * kv_len <= limit else 1
    kv_heads = max(1, min(num_kv_heads, limit // (sequences * group * kv_len)))
    shared = group if kv_heads > 1 else max(1, min(group, limit // kv_len))
    queries = max(1, limit // (sequences * kv_heads * shared * kv_len))
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
