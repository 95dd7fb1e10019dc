"""The attention that a call is about: the one place where these keywords are declared."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from attention_client._arrays import Array
from attention_client._names import CausalMode
from attention_client._numbers import Integers

__all__ = ["AttentionKeywords"]


@dataclass(frozen=True, eq=False)
class AttentionKeywords:
    """Embeddings, masks and heads, whatever is asked about them; ``AttendCall`` explains each."""

    model: str
    query: Array
    key: Array | None = None
    value: Array | None = None
    _: KW_ONLY
    kv_lengths: Integers | None = None
    query_lengths: Integers | None = None
    query_offsets: Integers | None = None
    key_mask: Array | None = None
    attend_mask: Array | None = None
    attn_bias: Array | None = None
    causal: CausalMode | None = None
    window: tuple[int | None, int | None] | None = None
    query_positions: Array | None = None
    key_positions: Array | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    scale: float | None = None
    softcap: float | None = None
    ablated_heads: Integers | None = None
    version: str | int | None = None
    request_id: str | None = None
    timeout: float | None = None
