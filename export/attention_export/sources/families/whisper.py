"""Whisper (Radford et al. 2022): an encoder of audio, and a decoder that writes what it heard."""

from __future__ import annotations

from collections.abc import Mapping

from attention_export.sources.config import Config
from attention_export.sources.families.encoder_decoder import encoder_decoder_layers
from attention_export.sources.families.family import LayerPlan

__all__ = ["Whisper"]


class Whisper:
    """Encoder, decoder and the attention of the second to the first; keys have no bias."""

    model_types = ("whisper",)
    brings = "encoder of audio, causal decoder, cross-attention; keys without bias"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        return encoder_decoder_layers(config, bias=("w_q", "w_v", "w_o"))
