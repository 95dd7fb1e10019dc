"""How much work a run must be before a second core makes it faster."""

from __future__ import annotations

from attention_server.domain.model import Model
from attention_server.domain.request import AttendRequest

__all__ = ["WORTH_EVERY_CORE", "multiply_adds"]

WORTH_EVERY_CORE = 1 << 24
"""Multiply-adds from which all threads are used: to wake one takes longer than less work does.

Time with 2 threads by that with 1, of one request on 2 idle cores (AVX-512): 384 wide, 8 tokens
(5 million) 1.34, 16 (10) 1.35, 24 (15) 1.15, 32 (20) 0.99, 64 (41) 0.79; 768 wide, 2 tokens (5)
1.17, 4 (9) 0.86, 16 (38) 0.73; without projections, 768 wide, 64 tokens (6) 1.27, 128 (25) 0.75.
"""


def multiply_adds(model: Model, request: AttendRequest) -> int:
    """Returns the multiply-adds of a request's matrix products, projections included."""
    settings = request.settings
    heads, kv_heads = settings.num_heads, settings.num_kv_heads
    query, value = request.query.shape, request.value.shape
    queries, keys = query[0] * query[1], value[0] * value[1]
    head_dim = model.head_dim or query[2] // heads
    value_head_dim = model.value_head_dim or value[2] // kv_heads
    attention: int = queries * value[1] * heads * (head_dim + value_head_dim)
    if not model.projects:
        return attention
    of_query = heads * (model.query_dim * head_dim + value_head_dim * model.output_dim)
    of_key = kv_heads * (model.key_dim * head_dim + model.value_dim * value_head_dim)
    projections: int = queries * of_query + keys * of_key
    return attention + projections
