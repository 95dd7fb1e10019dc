"""Frequencies that families read from config.json, against transformers' own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from attention_export.sources.config import Config
from attention_export.sources.families import FAMILIES

SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 6.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN: dict[str, Any] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LONGROPE: dict[str, Any] = {
    "short_factor": [1.0 + 0.1 * i for i in range(16)],
    "long_factor": [1.5 * (i + 1) for i in range(16)],
    "original_max_position_embeddings": 64,
}

GEMMA3: dict[str, dict[str, Any]] = {
    "": {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0},
            "full_attention": {**LLAMA3, "rope_theta": 500.0},
        }
    },
    " of old": {
        "rope_theta": 700.0,
        "rope_local_base_freq": 70.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    " without a word": {},
}


class Row(NamedTuple):
    model_type: str
    fields: Mapping[str, Any]
    length: int | None = None
    layer_type: str | None = None
    """Of models that turn some layers' heads in another way."""


def llama(length: int | None = None, **rope_parameters: Any) -> Row:
    return Row("llama", {"rope_parameters": {"rope_theta": 500.0, **rope_parameters}}, length)


def old(**fields: Any) -> Row:
    return Row("llama", fields)


ROWS = {
    "default": llama(rope_type="default"),
    "default of old": old(rope_theta=500.0),
    "nothing": old(),
    "head_dim": Row("qwen3", {"head_dim": 16}),
    "linear": llama(rope_type="linear", factor=4.0),
    "linear of old": old(rope_theta=700, rope_scaling={"type": "linear", "factor": 3.0}),
    "llama3": llama(**LLAMA3),
    "yarn": llama(**YARN),
    "yarn of old": old(rope_scaling={"type": "yarn", "factor": 4.0}),
    "yarn, every field": llama(**YARN, beta_fast=16, beta_slow=2, truncate=False, mscale=0.7),
    "yarn, both scales": llama(**YARN, mscale=0.7, mscale_all_dim=1.2),
    "yarn, factor told": llama(**YARN, attention_factor=1.3),
    "yarn, factor of lengths": llama(**{**YARN, "factor": None}),
    "dynamic": llama(rope_type="dynamic", factor=3.0),
    "dynamic, as trained": llama(128, rope_type="dynamic", factor=3.0),
    "dynamic, longer": llama(300, rope_type="dynamic", factor=3.0),
    "longrope": llama(rope_type="longrope", **LONGROPE),
    "longrope, as trained": llama(64, rope_type="longrope", **LONGROPE),
    "longrope, longer": llama(65, rope_type="longrope", **LONGROPE),
    "longrope, factor told": llama(rope_type="longrope", **LONGROPE, factor=32.0),
    "longrope, own factor": llama(rope_type="longrope", **LONGROPE, attention_factor=1.1),
    "part of a head": Row("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.3}}),
    "part of a head of old": Row("gpt_neox", {"rotary_pct": 0.5, "rotary_emb_base": 500}),
    "phi3 of old": Row(
        "phi3",
        {
            "partial_rotary_factor": 0.5,
            "original_max_position_embeddings": 32,
            "rope_scaling": {
                "type": "su",
                "original_max_position_embeddings": 32,
                "short_factor": LONGROPE["short_factor"][:8],
                "long_factor": LONGROPE["long_factor"][:8],
            },
        },
        33,
    ),
    "phi3, both lengths": Row(
        "phi3",
        {
            "original_max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "longrope", **LONGROPE},
        },
        33,
    ),
    **{
        f"gemma3{age}, {layer_type}": Row("gemma3_text", fields, None, layer_type)
        for layer_type in ("sliding_attention", "full_attention")
        for age, fields in GEMMA3.items()
    },
}


def fields_of(row: Row) -> dict[str, Any]:
    fields = {**SIZES, **copy.deepcopy(row.fields)}  # transformers changes what it is given
    if row.layer_type is not None:
        fields = {"layer_types": [row.layer_type] * 2, "head_dim": 32, **fields}
    return fields


def theirs(row: Row, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, float]:
    """Returns inverse frequencies and factor after a sequence of the row's length."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = row.model_type.removesuffix("_text")
    module = import_module(f"transformers.models.{name}.modeling_{name}")
    classes = {key.lower(): value for key, value in vars(module).items() if isinstance(value, type)}
    plain = name.replace("_", "")
    config = classes[plain + ("textconfig" if row.layer_type else "config")](**fields_of(row))
    rotary = classes[f"{plain}rotaryembedding"](config)
    kwargs = {"layer_type": row.layer_type} if row.layer_type else {}
    rotary(torch.zeros(1), torch.tensor([[(row.length or 1) - 1]]), **kwargs)
    prefix = f"{row.layer_type}_" if row.layer_type else ""
    return getattr(rotary, f"{prefix}inv_freq"), getattr(rotary, f"{prefix}attention_scaling")


def ours(row: Row) -> tuple[Tensor, float]:
    (family,) = (family for family in FAMILIES if row.model_type in family.model_types)
    plans = family.layers(Config(fields_of(row), context_length=row.length))
    rotary = plans["1"].build().rotary
    assert rotary is not None
    return rotary.inverse_frequencies, rotary.factor


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_heads_turn_as_in_transformers(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, factor = theirs(row, monkeypatch)
    frequencies, our_factor = ours(row)
    assert frequencies.dtype == torch.float32
    # To the bit: at position 100,000 an error of 1e-7 would turn a head by half a degree.
    assert frequencies.tolist() == expected.tolist()
    assert our_factor == factor
