"""Qwen2 (Yang et al. 2024) and Qwen3 (2025): windows in some layers; biases, later norms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality, seen
from attention_export.sources.families.decoder import Heads, llama_layer, sliding_layers
from attention_export.sources.families.family import LayerPlan
from attention_export.sources.rope import read_rope
from attention_service.manifest import Causal

__all__ = ["Qwen2", "Qwen3"]


class Qwen2:
    """Self-attention of each layer; all projections but the output's have biases."""

    model_types = ("qwen2",)
    brings = "decoder; rotary positions, grouped heads, biases, sliding windows by layer"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read(config, num_kv_heads=32)
        rope = read_rope(config, heads.head_dim)
        causal = causality(config)
        # A bias that is not stored is 0: the output's.
        build = partial(heads.build, rope, bias=True)
        return {
            str(i): llama_layer(
                i, build, rope, bias=("w_q", "w_k", "w_v"), causal=causal, window=window
            )
            for i, window in enumerate(_windows(config, causal))
        }


class Qwen3:
    """Self-attention of each layer; the heads of queries and keys are normed."""

    model_types = ("qwen3",)
    brings = "decoder; rotary positions, grouped heads, normed heads, sliding windows by layer"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = Heads.read(config, num_kv_heads=32, head_dim=128)
        rope = read_rope(config, heads.head_dim)
        causal = causality(config)
        bias = config.flag("attention_bias", False)
        build = partial(heads.build, rope, bias=bias, norm_eps=config.number("rms_norm_eps", 1e-6))
        return {
            str(i): llama_layer(
                i, build, rope, bias=bias, norm=_as_stored, causal=causal, window=window
            )
            for i, window in enumerate(_windows(config, causal))
        }


def _as_stored(weight: Tensor) -> Tensor:
    return weight


def _windows(config: Config, causal: Causal) -> list[tuple[int | None, int | None]]:
    """Returns what each layer sees: the first ``max_window_layers`` all, the others a window."""
    uses = config.flag("use_sliding_window", False)
    window = config.optional_length("sliding_window", 4096) if uses else None
    layers = range(config.layer_count("num_hidden_layers"))
    first = config.size("max_window_layers", 28, least=0)
    slides = sliding_layers(config, [window is not None and i >= first for i in layers])
    if window is None and any(slides):
        why = "there is no sliding_window" if uses else "use_sliding_window is false"
        raise config.wrong("layer_types", f"has sliding layers, but {why}")
    return [seen(window if sliding else None, causal) for sliding in slides]
