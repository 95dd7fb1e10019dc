"""Phi-3 (Abdin et al. 2024): queries, keys and values in one matrix, and longer sequences."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality, seen
from attention_export.sources.families.decoder import Heads
from attention_export.sources.families.family import LayerPlan, Stored
from attention_export.sources.rope import read_rope

__all__ = ["Phi3"]

# What its first versions called the way in which they were extended.
_RENAMED = {"su": "longrope", "yarn": "longrope"}


class Phi3:
    """Self-attention of each layer."""

    model_types = ("phi3",)
    brings = "decoder; rotary positions in part of a head, grouped heads, sliding window"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read(config)
        partial_factor = config.number("partial_rotary_factor", 1.0)
        rope = read_rope(config, heads.head_dim, partial=partial_factor, renamed=_RENAMED)
        causal = causality(config)
        window = seen(config.optional_length("sliding_window"), causal)
        return {
            str(i): LayerPlan(
                place=place,
                build=partial(heads.build, rope),
                tensors=_tensors(place, heads),
                beside=("rotary_emb.",),
                causal=causal,
                window=window,
                source=rope.source,
            )
            for i in range(config.layer_count("num_hidden_layers"))
            for place in [f"layers.{i}.self_attn."]
        }


def _tensors(place: str, heads: Heads) -> dict[str, Stored]:
    """Returns where the projections are: rows of queries, then of keys, then of values."""
    queries, keys = heads.num_heads * heads.head_dim, heads.num_kv_heads * heads.head_dim
    rows = {"w_q": (0, queries), "w_k": (queries, keys), "w_v": (queries + keys, keys)}
    fused = f"{place}qkv_proj.weight"
    shape = (queries + 2 * keys, heads.query_dim)
    return {
        "w_o.weight": Stored(f"{place}o_proj.weight"),
        **{
            f"{name}.weight": Stored(fused, shape, partial(_rows, first=first, count=count))
            for name, (first, count) in rows.items()
        },
    }


def _rows(fused: Tensor, *, first: int, count: int) -> Tensor:
    return fused[first : first + count]
