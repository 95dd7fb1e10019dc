"""Marian (Junczys-Dowmunt et al. 2018): translation, with sinusoids for positions."""

from __future__ import annotations

from collections.abc import Mapping

from attention_export.sources.config import Config
from attention_export.sources.families.encoder_decoder import encoder_decoder_layers
from attention_export.sources.families.family import LayerPlan

__all__ = ["Marian"]


class Marian:
    """Encoder, decoder and the attention of the second to the first."""

    model_types = ("marian",)
    brings = "encoder, causal decoder, cross-attention"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        return encoder_decoder_layers(config)
