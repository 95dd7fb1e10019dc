"""Classes of transformers beside those of the table, by what they save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.parity.families.encoder_decoders import ENCODER_DECODER_CLASSES
from tests.parity.families.encoders import ENCODERS
from tests.parity.families.row import Family, Layer

__all__ = ["CLASSES"]

_ENCODERS = {family.name: family for family in ENCODERS}


def _held(
    encoder: str,
    architecture: str,
    under: str,
    layers: Mapping[str, Layer] | None = None,
    **config: Any,
) -> Family:
    """Returns the model of another class, whose encoder stands under a name."""
    family = _ENCODERS[encoder]
    return replace(
        family,
        name=architecture,
        architecture=architecture,
        config={**family.config, **config},
        layers={
            name: replace(layer, place=under + layer.place)
            for name, layer in (layers or family.layers).items()
        },
    )


def _clip(architecture: str, config: Mapping[str, Any], layers: Mapping[str, Layer]) -> Family:
    """Returns one of CLIP's encoders without the other."""
    return Family(architecture, architecture, config, layers)


_GROUPS = {
    str(i): Layer(f"encoder.albert_layer_groups.{group}.albert_layers.{j}.attention", ends="dense")
    for i, (group, j) in enumerate([(0, 0), (0, 1), (0, 0), (0, 1), (1, 0), (1, 1)])
}
_CLIP = _ENCODERS["clip"]
_TEXT, _IMAGE = _CLIP.config["text_config"], _CLIP.config["vision_config"]
_IN_TEXT, _IN_IMAGE = _CLIP.layers["text.1"], _CLIP.layers["vision.1"]
_PLACE = "encoder.layers.1.self_attn"

CLASSES = (
    _held("bert", "BertForMaskedLM", "bert."),
    _held("bert", "BertForPreTraining", "bert."),
    _held("roberta", "RobertaForMaskedLM", "roberta."),
    _held("roberta", "XLMRobertaModel", ""),
    _held("roberta", "XLMRobertaForMaskedLM", "roberta."),
    _held("roberta", "CamembertForMaskedLM", "roberta."),
    _held("distilbert", "DistilBertForMaskedLM", "distilbert."),
    _held("electra", "ElectraForPreTraining", "electra."),
    _held("albert", "AlbertForMaskedLM", "albert.", _GROUPS),
    _held("vit", "ViTForImageClassification", "vit."),
    _held("vit", "ViTModel", "", qkv_bias=False),
    _clip("CLIPTextModel", _TEXT, {"1": replace(_IN_TEXT, place=_PLACE, runs="")}),
    _clip("CLIPTextModelWithProjection", _TEXT, {"1": _IN_TEXT}),
    _clip("CLIPVisionModel", _IMAGE, {"1": replace(_IN_IMAGE, place=_PLACE)}),
    _clip("CLIPVisionModelWithProjection", _IMAGE, {"1": _IN_IMAGE}),
    _clip("CLIPForImageClassification", _CLIP.config, {"vision.1": _IN_IMAGE}),
    *ENCODER_DECODER_CLASSES,
)
