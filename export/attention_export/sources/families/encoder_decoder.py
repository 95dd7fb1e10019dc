"""What BART, Marian and Whisper share: the names of their tensors and sizes."""

from __future__ import annotations

from collections.abc import Mapping

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.family import LayerPlan, linears
from attention_service.manifest import Causal

__all__ = ["encoder_decoder_layers"]

_PROJECTIONS = {"w_q": "q_proj", "w_k": "k_proj", "w_v": "v_proj", "w_o": "out_proj"}


def encoder_decoder_layers(
    config: Config, *, bias: bool | tuple[str, ...] = True
) -> Mapping[str, LayerPlan]:
    """Returns the layers by name, in order: those of the encoder, then those of the decoder.

    LayerNorm and the residual connections stand outside of them, and absolute positions are added
    before the first.

    Args:
        config: Says how many layers and heads encoder and decoder have.
        bias: Whether the projections have biases, or which of them, by their names in the module.

    Raises:
        SourceError: A config that is incomplete.
    """
    width, encoder_heads = config.shared("d_model", "encoder_attention_heads")
    width, decoder_heads = config.shared("d_model", "decoder_attention_heads")

    def plan(place: str, heads: int, causal: Causal = "none") -> LayerPlan:
        return LayerPlan(
            place,
            build=lambda: MultiHeadAttention(width, heads),
            tensors=linears(place, _PROJECTIONS, bias=bias),
            causal=causal,
        )

    causal = causality(config)
    plans = {}
    for i in range(config.layer_count("encoder_layers")):
        plans[f"encoder.{i}"] = plan(f"encoder.layers.{i}.self_attn.", encoder_heads)
    for i in range(config.layer_count("decoder_layers")):
        place = f"decoder.layers.{i}."
        plans[f"decoder.{i}.self"] = plan(f"{place}self_attn.", decoder_heads, causal)
        plans[f"decoder.{i}.cross"] = plan(f"{place}encoder_attn.", decoder_heads)
    return plans
