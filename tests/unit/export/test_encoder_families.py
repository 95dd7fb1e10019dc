"""What is said of an encoder's checkpoint that is not as its family stores it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from attention_export import HuggingFaceModel, SourceError

_SIZES = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2}


@dataclass(frozen=True)
class Last:
    """The last layer of a model: its name, and where its family stores it."""

    config: Mapping[str, Any]
    name: str
    place: str
    projections: tuple[str, str, str, str]

    @property
    def key(self) -> str:
        """Name of the key's projection."""
        return self.place + self.projections[1]

    def tensors(self) -> dict[str, Tensor]:
        """Returns the layer's tensors, without those of any other."""
        names = [self.place + projection for projection in self.projections]
        weights = {f"{name}.weight": torch.ones(12, 12) for name in names}
        return weights | {f"{name}.bias": torch.ones(12) for name in names}


_BERT = ("self.query", "self.key", "self.value", "output.dense")
_CLIP = ("q_proj", "k_proj", "v_proj", "out_proj")
LAST: Mapping[str, Last] = {
    "bert": Last(
        {**_SIZES, "is_decoder": True, "add_cross_attention": True},
        "1.cross",
        "bert.encoder.layer.1.crossattention.",
        _BERT,
    ),
    "roberta": Last(_SIZES, "1", "roberta.encoder.layer.1.attention.", _BERT),
    "distilbert": Last(
        {"dim": 12, "n_heads": 3, "n_layers": 2},
        "1",
        "distilbert.transformer.layer.1.attention.",
        ("q_lin", "k_lin", "v_lin", "out_lin"),
    ),
    "electra": Last(_SIZES, "1", "electra.encoder.layer.1.attention.", _BERT),
    "albert": Last(
        {**_SIZES, "num_hidden_groups": 1, "inner_group_num": 1},
        "1",
        "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.",
        ("query", "key", "value", "dense"),
    ),
    "vit": Last(
        {**_SIZES, "qkv_bias": True},
        "1",
        "vit.encoder.layer.1.attention.",
        ("attention.query", "attention.key", "attention.value", "output.dense"),
    ),
    "clip": Last(
        {"text_config": _SIZES, "vision_config": _SIZES},
        "vision.1",
        "vision_model.encoder.layers.1.self_attn.",
        _CLIP,
    ),
    "clip_text_model": Last(_SIZES, "1", "text_model.encoder.layers.1.self_attn.", _CLIP),
    "clip_vision_model": Last(_SIZES, "1", "encoder.layers.1.self_attn.", _CLIP),
}


def read_last(
    directory: Path, model_type: str, tensors: Mapping[str, Tensor], **changes: Any
) -> None:
    last = LAST[model_type]
    config = {"model_type": model_type, **last.config, **changes}
    (directory / "config.json").write_text(json.dumps(config))
    save_file(dict(tensors), directory / "model.safetensors")
    model = HuggingFaceModel(directory)
    assert model.layers[-1] == last.name
    model.layer(last.name)


@pytest.mark.parametrize("model_type", LAST)
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_missing_tensor_is_named(model_type: str, part: str, tmp_path: Path) -> None:
    tensors = LAST[model_type].tensors()
    name = f"{LAST[model_type].key}.{part}"
    del tensors[name]
    with pytest.raises(SourceError, match=f"tensor {re.escape(name)} is missing"):
        read_last(tmp_path, model_type, tensors)


@pytest.mark.parametrize("model_type", LAST)
def test_misshapen_tensor_is_named(model_type: str, tmp_path: Path) -> None:
    name = f"{LAST[model_type].key}.weight"
    tensors = LAST[model_type].tensors() | {name: torch.ones(12, 9)}
    with pytest.raises(
        SourceError, match=rf"tensor {re.escape(name)} is \[12, 9\], where \[12, 12\] is right"
    ):
        read_last(tmp_path, model_type, tensors)


@pytest.mark.parametrize("model_type", LAST)
def test_tensor_that_the_family_does_not_know_is_named(model_type: str, tmp_path: Path) -> None:
    last = LAST[model_type]
    tensors, name = last.tensors(), f"{last.place}{last.projections[3]}.lora_A"
    read_last(tmp_path, model_type, tensors)
    with pytest.raises(SourceError, match=f"tensor {re.escape(name)} is not one that"):
        read_last(tmp_path, model_type, tensors | {name: torch.ones(2, 12)})


@pytest.mark.parametrize(
    ("model_type", "config", "message"),
    [
        ("distilbert", {"dim": None}, "config.json: dim must be a whole number"),
        ("albert", {"num_hidden_groups": 0}, "num_hidden_groups must be a whole number"),
        ("albert", {"position_embedding_type": "relative_key"}, "adds to the scores"),
        ("roberta", {"position_embedding_type": "relative_key"}, "adds to the scores"),
        ("vit", {"qkv_bias": "yes"}, "qkv_bias must be true or false"),
        ("vit", {"qkv_bias": False}, "bias is not one that"),
        ("clip", {"text_config": []}, "text_config must be an object"),
        (
            "clip_text_model",
            {"num_attention_heads": 5},
            r"hidden_size \(12\) must be a multiple of num_attention_heads \(5\)",
        ),
    ],
)
def test_config_that_does_not_fit_is_refused(
    model_type: str, config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        read_last(tmp_path, model_type, LAST[model_type].tensors(), **config)
