"""CLIP (Radford et al. 2021): an encoder of texts, which is causal, beside one of images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.family import LayerPlan, linears
from attention_service.manifest import Causal

__all__ = ["Clip", "ClipText", "ClipVision"]

_PROJECTIONS = {"w_q": "q_proj", "w_k": "k_proj", "w_v": "v_proj", "w_o": "out_proj"}
_TEXT, _VISION = "text_model.", "vision_model."


class Clip:
    """Self-attention of both encoders: "text.3", "vision.3"."""

    model_types = ("clip",)
    brings = "encoders of texts, causal, and of images"
    prefixes = ("",)

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, those of texts first."""
        # Some files say it twice; transformers believes what ends in _dict.
        text, vision = (
            config.section(f"{part}_config_dict") or config.section(f"{part}_config")
            for part in ("text", "vision")
        )
        return {
            **{f"text.{name}": plan for name, plan in _text_layers(text, _TEXT).items()},
            **{f"vision.{name}": plan for name, plan in _vision_layers(vision, _VISION).items()},
        }


class ClipText:
    """Self-attention of CLIP's encoder of texts alone."""

    model_types = ("clip_text_model",)
    brings = "encoder of texts, causal"
    prefixes = ("", _TEXT)

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        return _text_layers(config)


class ClipVision:
    """Self-attention of CLIP's encoder of images alone."""

    model_types = ("clip_vision_model",)
    brings = "encoder of images"
    prefixes = ("", _VISION)

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        return _vision_layers(config)


def _text_layers(config: Config, part: str = "") -> dict[str, LayerPlan]:
    if causality(config) == "none":
        raise config.wrong("is_causal", "must be true in CLIP's encoder of texts")
    return _layers(config, part, width=512, heads=8, causal="lower_right")


def _vision_layers(config: Config, part: str = "") -> dict[str, LayerPlan]:
    return _layers(config, part, width=768, heads=12)


def _layers(
    config: Config, part: str, *, width: int, heads: int, causal: Causal = "none"
) -> dict[str, LayerPlan]:
    """Returns the layers; width and heads are those of a config that leaves them out."""
    sizes = config.shared("hidden_size", "num_attention_heads", (width, heads))
    places = {
        str(i): f"{part}encoder.layers.{i}.self_attn."
        for i in range(config.layer_count("num_hidden_layers", 12))
    }
    return {
        name: LayerPlan(
            place,
            partial(MultiHeadAttention, *sizes),
            linears(place, _PROJECTIONS),
            causal=causal,
        )
        for name, place in places.items()
    }
