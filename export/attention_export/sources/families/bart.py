"""BART (Lewis et al. 2019), and the models of other names that are built like it."""

from __future__ import annotations

from collections.abc import Mapping

from attention_export.sources.config import Config
from attention_export.sources.families.encoder_decoder import encoder_decoder_layers
from attention_export.sources.families.family import LayerPlan

__all__ = ["Bart"]


class Bart:
    """Encoder, decoder and the attention of the second to the first."""

    model_types = ("bart", "mbart", "pegasus", "m2m_100", "plbart", "blenderbot")
    brings = "encoder, causal decoder, cross-attention"
    prefixes = ("", "model.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        return encoder_decoder_layers(config)
