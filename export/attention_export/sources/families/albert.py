"""ALBERT (Lan et al. 2019): an encoder whose layers share their weights, group by group."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.bert import check_positions
from attention_export.sources.families.family import LayerPlan, linears

__all__ = ["Albert"]

_PROJECTIONS = {"w_q": "query", "w_k": "key", "w_v": "value", "w_o": "dense"}


class Albert:
    """Self-attention in the order of computing, up to the residual connection and LayerNorm.

    Layers of one group have the same weights, and the same digest.
    """

    model_types = ("albert",)
    brings = "encoder; layers of a group share their weights"
    prefixes = ("", "albert.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        check_positions(config)
        build = partial(MultiHeadAttention, *config.shared("hidden_size", "num_attention_heads"))
        repeats, groups = (
            config.layer_count("num_hidden_layers"),
            config.size("num_hidden_groups", 1),
        )
        places = [
            f"encoder.albert_layer_groups.{i * groups // repeats}.albert_layers.{j}.attention."
            for i in range(repeats)
            for j in range(config.size("inner_group_num", 1, most=100))
        ]
        return {
            str(i): LayerPlan(place, build, linears(place, _PROJECTIONS), beside=("LayerNorm.",))
            for i, place in enumerate(places)
        }
