"""What a config, or another class, changes in the layers of a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.parity.families.decoders import DECODERS
from tests.parity.families.row import Family

__all__ = ["VARIANTS"]

_DECODERS = {family.name: family for family in DECODERS}
_TINY_IMAGES = {
    "model_type": "siglip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 8,
    "patch_size": 4,
}


def _with(decoder: str, what: str, **fields: Any) -> Family:
    """Returns a model with other fields in its configuration."""
    family = _DECODERS[decoder]
    return replace(family, name=f"{decoder}, {what}", config={**family.config, **fields})


def _not_causal(decoder: str, window: int | None = None) -> Family:
    """Returns a model whose decoder sees what follows, too: so far, or everything."""
    family = _with(decoder, "not causal", is_causal=False)
    sees = None if window is None else (window, window)
    layers = {
        name: replace(layer, causal="none", window=sees if layer.window else None, decodes=False)
        for name, layer in family.layers.items()
    }
    return replace(family, layers=layers)


def _held(decoder: str, architecture: str, under: str) -> Family:
    """Returns the model of another class, whose decoder stands under a name."""
    family = _DECODERS[decoder]
    layers = {
        name: replace(layer, place=under + layer.place) for name, layer in family.layers.items()
    }
    return replace(family, name=architecture, architecture=architecture, layers=layers)


def _with_images(architecture: str, text: str) -> Family:
    """Returns Gemma 3 with images, of which the layers for text are looked at."""
    gemma3 = _DECODERS["gemma3"]
    layer = replace(gemma3.layers["0"], place=f"{text}.layers.0.self_attn", runs=text)
    config = {"text_config": gemma3.config, "vision_config": _TINY_IMAGES}
    return Family(architecture, architecture, config, {"text.0": layer})


VARIANTS = (
    _held("gpt2", "GPT2LMHeadModel", "transformer."),
    _with("gpt2", "no scale", scale_attn_weights=False),
    _with("gpt2", "one scale", scale_attn_by_inverse_layer_idx=False),
    _held("gpt-neox", "GPTNeoXForCausalLM", "gpt_neox."),
    _with("gpt-neox", "no biases", attention_bias=False),
    _with("llama", "no biases", attention_bias=False),
    _with("llama", "no groups", num_key_value_heads=None, head_dim=None),
    _with("mistral", "no window", sliding_window=None),
    _with("qwen3", "biases", attention_bias=True),
    _with("gemma2", "no softcap", attn_logit_softcapping=None),
    _with("gemma2", "biases", attention_bias=True),
    _with("gemma3", "both ways", use_bidirectional_attention=True),
    _with("gemma3", "both ways, not causal", use_bidirectional_attention=True, is_causal=False),
    _with("gemma3", "biases", attention_bias=True),
    _with_images("Gemma3ForConditionalGeneration", "model.language_model"),
    _with_images("Gemma3Model", "language_model"),
    _with("phi3", "no window", sliding_window=None),
    _not_causal("gpt2"),
    _not_causal("gpt-neox"),
    _not_causal("llama"),
    _not_causal("mistral", window=5),
    _not_causal("qwen2", window=5),
    _not_causal("gemma2", window=5),
    _not_causal("gemma3", window=5),
    _not_causal("phi3", window=5),
    _with("phi3", "whole heads", rope_parameters={"rope_type": "default"}),
)
