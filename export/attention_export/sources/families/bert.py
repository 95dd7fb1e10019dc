"""BERT (Devlin et al. 2018): an encoder with absolute positions, added before the first layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.errors import SourceError
from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.family import LayerPlan, linears

__all__ = ["Bert", "check_positions"]

_PROJECTIONS = {
    "w_q": "self.query",
    "w_k": "self.key",
    "w_v": "self.value",
    "w_o": "output.dense",
}


class Bert:
    """Self-attention of each layer; LayerNorm and the residual connection stand outside of it.

    A decoder is causal, and one that reads an encoder has cross-attention too: "3.cross".
    """

    model_types: tuple[str, ...] = ("bert",)
    brings = "encoder; causality and cross-attention where it decodes"
    prefixes: tuple[str, ...] = ("", "bert.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        check_positions(config)
        build = partial(MultiHeadAttention, *config.shared("hidden_size", "num_attention_heads"))
        causal = causality(config) if config.flag("is_decoder", False) else "none"
        cross = config.flag("add_cross_attention", False)
        plans = {}
        for i in range(config.layer_count("num_hidden_layers")):
            plan = partial(LayerPlan, build=build, beside=("output.LayerNorm.",))
            place = f"encoder.layer.{i}.attention."
            plans[str(i)] = plan(
                place=place,
                tensors=linears(place, _PROJECTIONS),
                causal=causal,
            )
            if cross:
                place = f"encoder.layer.{i}.crossattention."
                plans[f"{i}.cross"] = plan(place=place, tensors=linears(place, _PROJECTIONS))
        return plans


def check_positions(config: Config) -> None:
    """Refuses BERT's older ways to give attention a sense of distance.

    Raises:
        SourceError: Positions that are not added before the first layer.
    """
    positions = config.text("position_embedding_type", "absolute")
    if positions != "absolute":
        raise SourceError(
            f"config.json: position_embedding_type {positions!r} adds to the scores, which is "
            "not supported; 'absolute' is"
        )
