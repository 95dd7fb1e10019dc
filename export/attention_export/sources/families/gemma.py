"""Gemma 2 (2024) and Gemma 3 (2025): windows in most layers, bounded scores, later norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality, seen
from attention_export.sources.families.decoder import Heads, llama_layer, sliding_layers
from attention_export.sources.families.family import LayerPlan
from attention_export.sources.rope import Rope, read_rope

__all__ = ["Gemma2", "Gemma3", "Gemma3Text"]


class Gemma2:
    """Self-attention of each layer; every other one sees a window, the first among them."""

    model_types = ("gemma2",)
    brings = "decoder; rotary positions, grouped heads, softcap, own scale, windows by layer"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        if config.flag("use_bidirectional_attention", False):
            raise config.wrong("use_bidirectional_attention", "must be false in Gemma 2")
        heads = _heads(config)
        rope = read_rope(config, heads.head_dim)
        bias = config.flag("attention_bias", False)
        build = partial(
            heads.build,
            rope,
            bias=bias,
            scale=_scale(config),
            softcap=config.optional_number("attn_logit_softcapping", 50.0) or 0.0,
        )
        window = config.length("sliding_window", 4096)
        causal = causality(config)
        slides = sliding_layers(config, [i % 2 == 0 for i in range(_layer_count(config))])
        return {
            str(i): llama_layer(
                i,
                build,
                rope,
                bias=bias,
                causal=causal,
                window=seen(window if sliding else None, causal),
            )
            for i, sliding in enumerate(slides)
        }


class Gemma3Text:
    """Self-attention of each layer; those with a window turn heads faster than the others."""

    model_types = ("gemma3_text",)
    brings = "decoder; rotary positions by layer, normed grouped heads, own scale, windows by layer"
    prefixes: tuple[str, ...] = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        # attn_logit_softcapping stands in its configs too, but its attention bounds no scores.
        heads = _heads(config)
        bias = config.flag("attention_bias", False)
        build = partial(
            heads.build,
            bias=bias,
            scale=_scale(config),
            norm_eps=config.number("rms_norm_eps", 1e-6),
        )
        window = config.length("sliding_window", 4096)
        both_ways = config.flag("use_bidirectional_attention", False)
        causal = causality(config)
        if both_ways:  # half to each side, and one more where "is_causal" is false as well
            window = window // 2 + (causal == "none")
            causal = "none"
        every = config.size("sliding_window_pattern", 6)
        slides = sliding_layers(config, [(i + 1) % every > 0 for i in range(_layer_count(config))])
        ropes = {sliding: _gemma3_rope(config, heads.head_dim, sliding) for sliding in set(slides)}
        return {
            str(i): llama_layer(
                i,
                partial(build, ropes[sliding]),
                ropes[sliding],
                bias=bias,
                norm=_one_more,
                causal=causal,
                window=seen(window if sliding else None, causal),
            )
            for i, sliding in enumerate(slides)
        }


class Gemma3(Gemma3Text):
    """The text layers of a model that also sees; queries of an image may see all of that image.

    A request says so itself, with ``attend_mask`` and without causality.
    """

    model_types = ("gemma3",)
    brings = "the decoder of texts, as gemma3_text"
    prefixes = ("language_model.", "model.language_model.", "language_model.model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        text = config.section("text_config")
        if causality(text) == "none":
            raise text.wrong("is_causal", "must be true in a model that sees images, too")
        layers = super().layers(text)
        return {f"text.{name}": layer for name, layer in layers.items()}


def _heads(config: Config) -> Heads:
    return Heads.read(config, query_dim=2304, num_heads=8, num_kv_heads=4, head_dim=256)


def _layer_count(config: Config) -> int:
    return config.layer_count("num_hidden_layers", 26)


def _scale(config: Config) -> float:
    return 1.0 / math.sqrt(config.number("query_pre_attn_scalar", 256.0))


def _one_more(weight: Tensor) -> Tensor:
    return 1.0 + weight.float()  # what is stored is the distance from 1


def _gemma3_rope(config: Config, head_dim: int, sliding: bool) -> Rope:
    """Returns what turns the heads of one kind of layers, of which only the full were extended."""
    by_type = config.section("rope_parameters")
    if sliding:
        theta = config.number("rope_local_base_freq", 10_000.0)
        parameters = by_type.section("sliding_attention")
    else:
        theta = config.number("rope_theta", 1_000_000.0)
        parameters = config.section("rope_scaling") or by_type.section("full_attention")
    return read_rope(config, head_dim, parameters=parameters, theta=theta)
