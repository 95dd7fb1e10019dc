"""Decoders that transformers saved: which layers there are, and what each sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from attention_export import HuggingFaceModel, SourceError
from attention_export.cli.arguments import parse
from attention_export.cli.jobs import jobs
from attention_export.sources.config import Config
from attention_export.sources.families import FAMILIES
from attention_export.sources.families.family import LayerPlan

SIZES = {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "max_position_embeddings": 64,
    "head_dim": 4,
}
GPT2 = {"n_embd": 16, "n_head": 4, "n_layer": 4}
NO, SEES_3 = (None, None), (2, None)


def plans(model_type: str, fields: Mapping[str, Any]) -> Mapping[str, LayerPlan]:
    (family,) = (family for family in FAMILIES if model_type in family.model_types)
    return family.layers(Config({**SIZES, **fields}))


@pytest.mark.parametrize(
    ("model_type", "fields", "windows"),
    [
        ("llama", {}, [NO] * 4),
        ("mistral", {"sliding_window": 3}, [SEES_3] * 4),
        ("mistral", {"sliding_window": None}, [NO] * 4),
        ("mistral", {}, [(4095, None)] * 4),
        ("qwen2", {"sliding_window": 3}, [NO] * 4),
        (
            "qwen2",
            {"sliding_window": 3, "use_sliding_window": True, "max_window_layers": 3},
            [NO, NO, NO, SEES_3],
        ),
        (
            "qwen3",
            {
                "sliding_window": 3,
                "use_sliding_window": True,
                "layer_types": ["sliding_attention"] + ["full_attention"] * 3,
            },
            [SEES_3, NO, NO, NO],
        ),
        ("gemma2", {"sliding_window": 3}, [SEES_3, NO, SEES_3, NO]),
        ("gemma3_text", {"sliding_window": 3}, [SEES_3] * 4),
        (
            "gemma3_text",
            {"sliding_window": 3, "sliding_window_pattern": 2},
            [SEES_3, NO, SEES_3, NO],
        ),
        (
            "gemma3_text",
            {"sliding_window": 5, "sliding_window_pattern": 4, "use_bidirectional_attention": True},
            [(2, 2), (2, 2), (2, 2), NO],
        ),
        ("phi3", {"sliding_window": 3}, [SEES_3] * 4),
        ("phi3", {}, [NO] * 4),
        ("gpt_neox", {}, [NO] * 4),
        ("gpt2", GPT2, [NO] * 4),
    ],
)
def test_each_layer_has_its_window(
    model_type: str, fields: Mapping[str, Any], windows: list[tuple[int | None, int | None]]
) -> None:
    layers = plans(model_type, fields)
    assert list(layers) == ["0", "1", "2", "3"]
    assert [layer.window for layer in layers.values()] == windows
    causal = "none" if "use_bidirectional_attention" in fields else "lower_right"
    assert {layer.causal for layer in layers.values()} == {causal}


BART = {
    "d_model": 16,
    **dict.fromkeys(["encoder_layers", "decoder_layers"], 1),
    **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 4),
}
T5 = {"model_type": "t5", "d_model": 16, "d_kv": 4, "num_heads": 4, "num_layers": 1}


@pytest.mark.parametrize(
    ("model_type", "fields", "layer"),
    [
        ("bert", {"is_decoder": True}, "0"),
        ("bart", BART, "decoder.0.self"),
        ("t5", T5, "decoder.0.self"),
        ("llama", {}, "0"),
    ],
)
@pytest.mark.parametrize("is_causal", [True, False])
def test_decoder_may_see_what_follows(
    model_type: str, fields: Mapping[str, Any], layer: str, is_causal: bool
) -> None:
    plan = plans(model_type, {**fields, "is_causal": is_causal})[layer]
    assert plan.causal == ("lower_right" if is_causal else "none")


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        (
            "clip",
            {"text_config": {**SIZES, "is_causal": False}, "vision_config": SIZES},
            r"text_config\.is_causal must be true",
        ),
        (
            "gemma3",
            {"text_config": {**SIZES, "is_causal": False}},
            r"text_config\.is_causal must be true",
        ),
        ("llama", {"hidden_size": 18, "head_dim": None}, r"hidden_size \(18\) must be a multiple"),
        ("llama", {"rope_theta": 1}, "rope_theta must be above 1"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "spiral"}},
            r"rope_scaling\.rope_type 'spiral' is none of default, linear, ",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1]}},
            r"rope_parameters\.mrope_section is not known",
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"sliding_attention": {"turns": 2}}},
            r"rope_parameters\.sliding_attention\.turns is not known",
        ),
        ("llama", {"rope_scaling": {"type": "linear"}}, r"rope_scaling\.factor must be a number"),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "factor": 8,
                    "low_freq_factor": 4,
                    "high_freq_factor": 4,
                }
            },
            r"rope_parameters\.high_freq_factor must be above low_freq_factor",
        ),
        (
            "llama",
            {"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2}},
            "'dynamic' needs more than 2 numbers to turn",
        ),
        (
            "phi3",
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}},
            r"rope_scaling\.short_factor must be a list of 2 numbers above 0",
        ),
        ("phi3", {"partial_rotary_factor": 2}, "partial_rotary_factor must be at most 1"),
        ("phi3", {"partial_rotary_factor": 0.1}, "partial_rotary_factor leaves nothing of 4"),
        ("gpt2", {"n_embd": 4, "n_head": 8, "n_layer": 1}, r"n_embd \(4\) must be a multiple of"),
        ("llama", {"num_key_value_heads": 3}, r"\(4\) must be a multiple of num_key_value_heads"),
        ("llama", {"head_dim": 10**10}, "head_dim must be at most 1048576"),
        ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers must be at most 10000"),
        ("t5", {**T5, "relative_attention_max_distance": 10**9}, "max_distance must be at most"),
        ("gpt2", {**GPT2, "add_cross_attention": True}, "add_cross_attention must be false"),
        ("gemma2", {"use_bidirectional_attention": True}, "must be false in Gemma 2"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types must name 4 layers, not 1"),
        (
            "gemma3_text",
            {"layer_types": ["full_attention"] * 3 + ["chunked_attention"]},
            "layer_types names 'chunked_attention', which is not sliding_attention or",
        ),
        (
            "qwen2",
            {"layer_types": ["sliding_attention"] * 4},
            "layer_types has sliding layers, but use_sliding_window is false",
        ),
    ],
)
def test_config_that_is_not_supported_is_refused(
    model_type: str, fields: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=rf"^config\.json: .*{message}"):
        plans(model_type, fields)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [
        ("llama", "Llama"),
        ("mistral", "Mistral"),
        ("qwen2", "Qwen2"),
        ("qwen3", "Qwen3"),
        ("gemma2", "Gemma2"),
        ("gemma3_text", "Gemma3Text"),
        ("phi3", "Phi3"),
    ],
)
def test_what_a_config_leaves_out_is_as_transformers_has_it(
    model_type: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    fields = {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 2}
    theirs = getattr(transformers, f"{architecture}Config")(**fields)
    (family,) = (family for family in FAMILIES if model_type in family.model_types)
    layer = family.layers(Config(fields))["0"]
    with torch.device("meta"):  # sizes without memory
        module = layer.build()
    head_dim = getattr(theirs, "head_dim", 128)
    assert (module.num_kv_heads, module.head_dim) == (theirs.num_key_value_heads, head_dim)
    scalar = getattr(theirs, "query_pre_attn_scalar", head_dim)
    assert module.scale == pytest.approx(scalar**-0.5, rel=1e-12)
    assert module.softcap == (getattr(theirs, "attn_logit_softcapping", None) or 0.0)
    width = getattr(theirs, "sliding_window", None)
    assert layer.window == (None if width is None else width - 1, None)
    if module.query_norm is not None:
        assert module.query_norm.eps == theirs.rms_norm_eps


def test_gemma3_without_sizes_is_read_as_it_was_published() -> None:
    text = {"hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024}
    scaling = {"factor": 8.0, "rope_type": "linear"}
    (family,) = (family for family in FAMILIES if "gemma3" in family.model_types)
    layers = family.layers(Config({"text_config": {**text, "rope_scaling": scaling}}))
    assert list(layers) == [f"text.{i}" for i in range(34)]
    seen = [name for name, layer in layers.items() if layer.window == (None, None)]
    assert seen == ["text.5", "text.11", "text.17", "text.23", "text.29"]
    with torch.device("meta"):
        module = layers["text.5"].build()
    assert (module.num_heads, module.num_kv_heads, module.head_dim) == (8, 4, 256)


@pytest.mark.parametrize(
    ("model_type", "architecture", "place"),
    [
        ("clip", "CLIPConfig", "text_config"),
        ("clip", "CLIPConfig", "vision_config"),
        ("clip_text_model", "CLIPTextConfig", ""),
        ("clip_vision_model", "CLIPVisionConfig", ""),
        ("gemma3", "Gemma3Config", "text_config"),
    ],
)
def test_sizes_that_are_left_out_are_those_of_transformers(
    model_type: str,
    architecture: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    theirs = getattr(transformers, architecture)()
    theirs = getattr(theirs, place) if place else theirs
    (family,) = (family for family in FAMILIES if model_type in family.model_types)
    part = place.removesuffix("config").replace("_", ".")
    layers = [layer for name, layer in family.layers(Config({})).items() if name.startswith(part)]
    with torch.device("meta"):
        module = layers[0].build()
    assert len(layers) == theirs.num_hidden_layers
    assert module.w_q.in_features == theirs.hidden_size
    assert module.num_heads == theirs.num_attention_heads


def test_t5_whose_config_counts_no_decoder_layers_has_as_many_as_its_encoder() -> None:
    layers = plans("t5", {**T5, "num_decoder_layers": None})
    assert list(layers) == ["encoder.0", "decoder.0.self", "decoder.0.cross"]


def test_albert_without_a_word_of_groups_has_one() -> None:
    assert len({plan.place for plan in plans("albert", {}).values()}) == 1


def test_clip_reads_what_transformers_believes() -> None:
    said_twice = {"text_config_dict": {"num_hidden_layers": 2}, "text_config": SIZES}
    layers = plans("clip", said_twice)
    assert [name for name in layers if name.startswith("text")] == ["text.0", "text.1"]


def test_odd_head_that_should_turn_whole_is_refused(tmp_path: Path) -> None:
    config = {**SIZES, "model_type": "llama", "head_dim": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=r"rotary must turn at most head_dim \(5\) numbers"):
        HuggingFaceModel(tmp_path).layer("0")


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        ([], "longrope, short factors, for sequences of up to 32 tokens"),
        (["--context-length", "32"], "longrope, short factors, for sequences of up to 32 tokens"),
        (
            ["--context-length", "33"],
            "longrope, long factors, for sequences of more than 32 tokens",
        ),
    ],
)
def test_context_length_chooses_factors_and_source_tells(
    asked: list[str], note: str, tmp_path: Path
) -> None:
    config = {
        **SIZES,
        "model_type": "phi3",
        "original_max_position_embeddings": 32,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 4.0]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"qkv_proj.weight": torch.ones(32, 16), "o_proj.weight": torch.ones(16, 16)}
    save_file(
        {
            f"model.layers.{i}.self_attn.{name}": tensor.clone()
            for i in range(4)
            for name, tensor in tensors.items()
        },
        tmp_path / "model.safetensors",
    )
    destination = ["--name", "phi3", "--out", str(tmp_path / "models")]
    job, *_ = jobs(parse(["huggingface", str(tmp_path), *destination, *asked]))
    assert job.read().source["rope"] == note


GPT2_TENSORS = {
    "c_attn.weight": (16, 48),
    "c_attn.bias": (48,),
    "c_proj.weight": (16, 16),
    "c_proj.bias": (16,),
}
GPT_NEOX_TENSORS = {
    "query_key_value.weight": (48, 16),
    "query_key_value.bias": (48,),
    "dense.weight": (16, 16),
    "dense.bias": (16,),
}
LLAMA_TENSORS = {
    "q_proj.weight": (16, 16),
    "k_proj.weight": (8, 16),
    "v_proj.weight": (8, 16),
    "o_proj.weight": (16, 16),
}


@pytest.mark.parametrize(
    ("model_type", "place", "tensors", "buffers"),
    [
        ("gpt2", "transformer.h.0.attn.", GPT2_TENSORS, ("bias", "masked_bias")),
        (
            "gpt_neox",
            "gpt_neox.layers.0.attention.",
            GPT_NEOX_TENSORS,
            ("bias", "masked_bias", "rotary_emb.inv_freq"),
        ),
        ("llama", "model.layers.0.self_attn.", LLAMA_TENSORS, ("rotary_emb.inv_freq",)),
    ],
)
def test_buffers_of_old_checkpoints_are_left_aside(
    model_type: str,
    place: str,
    tensors: Mapping[str, tuple[int, ...]],
    buffers: tuple[str, ...],
    tmp_path: Path,
) -> None:
    config = {**SIZES, **GPT2, "model_type": model_type}
    (tmp_path / "config.json").write_text(json.dumps(config))
    stored = {place + name: torch.ones(shape) for name, shape in tensors.items()}
    aside = {place + name: torch.zeros(2, dtype=torch.uint8) for name in buffers}
    save_file({**stored, **aside}, tmp_path / "model.safetensors")
    HuggingFaceModel(tmp_path).layer("0")

    save_file({**stored, f"{place}gate.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=rf"{place}gate\.weight is not one that"):
        HuggingFaceModel(tmp_path).layer("0")
