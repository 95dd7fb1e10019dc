"""Decoders: every token sees those before it, and they come step by step."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.families.row import Family, Layer

__all__ = ["DECODERS"]

_SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 256,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_WIDE_HEADS = {**_GROUPED, "head_dim": 12}
_WINDOW = 5
_EARLIER = (_WINDOW - 1, None)  # a window counts the token itself

_ROTARY = Layer("layers.1.self_attn", decodes=True, causal="lower_right", positions="rotary")
_GROUPED_LAYER = replace(_ROTARY, kv_heads=2)
_WIDE_LAYER = replace(_GROUPED_LAYER, head_dim=12)

_GPT2 = Family(
    "gpt2",
    "GPT2Model",
    {
        "vocab_size": 40,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 48,
        "scale_attn_by_inverse_layer_idx": True,
    },
    {"1": Layer("h.1.attn", decodes=True, causal="lower_right", scale=8**-0.5 / 2)},
)
_GPT_NEOX = Family(
    "gpt-neox",
    "GPTNeoXModel",
    {**_SIZES, "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    {"1": replace(_ROTARY, place="layers.1.attention")},
)
_LLAMA = Family(
    "llama",
    "LlamaForCausalLM",
    {
        **_WIDE_HEADS,
        "attention_bias": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    {str(i): replace(_WIDE_LAYER, place=f"model.layers.{i}.self_attn") for i in (0, 1)},
)
_MISTRAL = Family(
    "mistral",
    "MistralModel",
    {**_GROUPED, "sliding_window": _WINDOW},
    {"1": replace(_GROUPED_LAYER, window=_EARLIER)},
)
_QWEN2 = Family(
    "qwen2",
    "Qwen2Model",
    {
        **_GROUPED,
        "use_sliding_window": True,
        "sliding_window": _WINDOW,
        "max_window_layers": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    {"1": replace(_GROUPED_LAYER, window=_EARLIER)},
)
_QWEN3 = Family("qwen3", "Qwen3Model", _WIDE_HEADS, {"1": _WIDE_LAYER})
_GEMMA2 = Family(
    "gemma2",
    "Gemma2Model",
    {
        **_WIDE_HEADS,
        "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 2.0,
        "sliding_window": _WINDOW,
    },
    {
        "0": replace(
            _WIDE_LAYER,
            place="layers.0.self_attn",
            scale=20**-0.5,
            softcap=2.0,
            window=_EARLIER,
        )
    },
)
_GEMMA3_LAYER = replace(_WIDE_LAYER, place="model.layers.1.self_attn", scale=20**-0.5)
_GEMMA3 = Family(
    "gemma3",
    "Gemma3ForCausalLM",
    {
        **_WIDE_HEADS,
        "query_pre_attn_scalar": 20,
        "sliding_window": _WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 8.0},
        },
    },
    {
        "0": replace(_GEMMA3_LAYER, place="model.layers.0.self_attn", window=_EARLIER),
        "1": _GEMMA3_LAYER,
    },
)
_PHI3 = Family(
    "phi3",
    "Phi3Model",
    {
        **_GROUPED,
        "sliding_window": _WINDOW,
        "pad_token_id": 0,
        "original_max_position_embeddings": 160,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.5,
            "short_factor": [1.1, 1.7],
            "long_factor": [2.0, 9.0],
        },
    },
    {"1": replace(_GROUPED_LAYER, window=_EARLIER)},
)

DECODERS: tuple[Family, ...] = (
    _GPT2,
    _GPT_NEOX,
    _LLAMA,
    _MISTRAL,
    _QWEN2,
    _QWEN3,
    _GEMMA2,
    _GEMMA3,
    _PHI3,
)
