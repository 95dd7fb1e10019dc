"""ViT (Dosovitskiy et al. 2020): an encoder of images, cut into patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.family import LayerPlan, linears

__all__ = ["Vit"]

_PROJECTIONS = {
    "w_q": "attention.query",
    "w_k": "attention.key",
    "w_v": "attention.value",
    "w_o": "output.dense",
}


class Vit:
    """Self-attention of each layer; LayerNorm stands before it."""

    model_types = ("vit",)
    brings = "encoder of images"
    prefixes = ("", "vit.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        build = partial(MultiHeadAttention, *config.shared("hidden_size", "num_attention_heads"))
        bias = tuple(_PROJECTIONS) if config.flag("qkv_bias", True) else ("w_o",)
        places = {
            str(i): f"encoder.layer.{i}.attention."
            for i in range(config.layer_count("num_hidden_layers"))
        }
        return {
            name: LayerPlan(place, build, linears(place, _PROJECTIONS, bias=bias))
            for name, place in places.items()
        }
