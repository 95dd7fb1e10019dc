"""Llama (Touvron et al. 2023): rotary positions, and in later versions grouped heads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.decoder import Heads, llama_layer
from attention_export.sources.families.family import LayerPlan
from attention_export.sources.rope import read_rope

__all__ = ["Llama"]


class Llama:
    """Self-attention of each layer."""

    model_types = ("llama",)
    brings = "decoder; rotary positions, grouped heads"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read(config)
        rope = read_rope(config, heads.head_dim)
        bias = config.flag("attention_bias", False)
        build = partial(heads.build, rope, bias=bias)
        causal = causality(config)
        return {
            str(i): llama_layer(i, build, rope, bias=bias, causal=causal)
            for i in range(config.layer_count("num_hidden_layers"))
        }
