"""Mistral (Jiang et al. 2023): Llama's layers, each of which may see a window alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality, seen
from attention_export.sources.families.decoder import Heads, llama_layer
from attention_export.sources.families.family import LayerPlan
from attention_export.sources.rope import read_rope

__all__ = ["Mistral"]


class Mistral:
    """Self-attention of each layer."""

    model_types = ("mistral",)
    brings = "decoder; rotary positions, grouped heads, sliding window"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read(config, num_kv_heads=8)
        rope = read_rope(config, heads.head_dim)
        build = partial(heads.build, rope)
        causal = causality(config)
        window = seen(config.optional_length("sliding_window", 4096), causal)
        return {
            str(i): llama_layer(i, build, rope, causal=causal, window=window)
            for i in range(config.layer_count("num_hidden_layers"))
        }
