"""DistilBERT (Sanh et al. 2019): BERT with half of the layers, and names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.family import LayerPlan, linears

__all__ = ["DistilBert"]

_PROJECTIONS = {"w_q": "q_lin", "w_k": "k_lin", "w_v": "v_lin", "w_o": "out_lin"}


class DistilBert:
    """Self-attention of each layer; LayerNorm and the residual connection stand outside of it."""

    model_types = ("distilbert",)
    brings = "encoder"
    prefixes = ("", "distilbert.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        build = partial(MultiHeadAttention, *config.shared("dim", "n_heads"))
        places = {
            str(i): f"transformer.layer.{i}.attention."
            for i in range(config.layer_count("n_layers"))
        }
        return {
            name: LayerPlan(place, build, linears(place, _PROJECTIONS))
            for name, place in places.items()
        }
