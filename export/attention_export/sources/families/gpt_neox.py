"""GPT-NeoX (Black et al. 2022), of which Pythia is: a part of each head turns by position."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.decoder import Heads
from attention_export.sources.families.family import LayerPlan, Stored
from attention_export.sources.rope import read_rope

__all__ = ["GPTNeoX"]


class GPTNeoX:
    """Self-attention of each layer."""

    model_types = ("gpt_neox",)
    brings = "decoder; rotary positions in part of a head"
    prefixes = ("", "gpt_neox.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read_even(config)
        rope = read_rope(
            config,
            heads.head_dim,
            theta=config.number("rotary_emb_base", 10_000.0),
            partial=config.number("rotary_pct", 0.25),
        )
        bias = config.flag("attention_bias", True)
        return {
            str(i): LayerPlan(
                place=place,
                build=partial(heads.build, rope, bias=bias),
                tensors=_tensors(place, heads, bias),
                # The causal mask and inverse frequencies, once saved with every layer.
                beside=("bias", "masked_bias", "rotary_emb."),
                causal=causality(config),
                source=rope.source,
            )
            for i in range(config.layer_count("num_hidden_layers"))
            for place in [f"layers.{i}.attention."]
        }


def _tensors(place: str, heads: Heads, bias: bool) -> dict[str, Stored]:
    """Returns where the projections are: head by head, rows of its query, its key, its value."""
    shapes: dict[str, tuple[int, ...]] = {"weight": (3 * heads.query_dim, heads.query_dim)}
    if bias:
        shapes["bias"] = (3 * heads.query_dim,)
    tensors = {}
    for part, shape in shapes.items():
        tensors[f"w_o.{part}"] = Stored(f"{place}dense.{part}")
        for third, name in enumerate(("w_q", "w_k", "w_v")):
            take = partial(_third_of_each_head, third, heads.num_heads)
            tensors[f"{name}.{part}"] = Stored(f"{place}query_key_value.{part}", shape, take)
    return tensors


def _third_of_each_head(third: int, heads: int, fused: Tensor) -> Tensor:
    return fused.reshape(heads, 3, -1, *fused.shape[1:])[:, third].flatten(0, 1)
