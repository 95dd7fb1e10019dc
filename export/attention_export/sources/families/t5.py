"""T5 (Raffel et al. 2019): no positions but a bias by distance, and no factor on the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from attention_export.errors import SourceError
from attention_export.module import MultiHeadAttention
from attention_export.relative_position_bias import RelativePositionBias
from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.family import LayerPlan, Stored, linears

__all__ = ["T5"]

_PROJECTIONS = {"w_q": "q", "w_k": "k", "w_v": "v", "w_o": "o"}
_BIAS = "relative_attention_bias."


class T5:
    """Encoder, decoder and cross-attention; self-attention is biased, one way in the decoder.

    All layers of a stack share the biases of its first; in UMT5 each has its own.
    """

    model_types = ("t5", "mt5", "umt5")
    brings = "encoder, causal decoder, cross-attention; relative position bias; scale 1"
    prefixes = ("", "transformer.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        heads = config.size("num_heads")
        buckets = config.size("relative_attention_num_buckets", 32)
        reach = config.size("relative_attention_max_distance", 128)
        if not 4 <= buckets < 2 * reach:
            raise SourceError(
                "config.json: relative_attention_num_buckets must be at least 4, and less than "
                "twice relative_attention_max_distance"
            )
        bias_in_each = config.text("model_type") == "umt5"
        build = partial(
            MultiHeadAttention,
            config.size("d_model"),
            heads,
            head_dim=config.size("d_kv"),
            bias=False,
            scale=1.0,
        )

        def self_attention(stack: str, i: int, *, two_sided: bool) -> LayerPlan:
            place = f"{stack}.block.{i}.layer.0.SelfAttention."
            first = place if bias_in_each else f"{stack}.block.0.layer.0.SelfAttention."
            table = Stored(
                f"{first}{_BIAS}weight",
                (buckets, heads),
                partial(_by_distance, reach=reach, two_sided=two_sided),
            )
            return LayerPlan(
                place,
                build=lambda: build(position_bias=RelativePositionBias(heads, reach)),
                tensors=linears(place, _PROJECTIONS, bias=False) | {"position_bias.table": table},
                causal="none" if two_sided else causality(config),
            )

        plans = {}
        layers = config.layer_count("num_layers")
        for i in range(layers):
            plans[f"encoder.{i}"] = self_attention("encoder", i, two_sided=True)
        for i in range(config.optional_layer_count("num_decoder_layers") or layers):
            plans[f"decoder.{i}.self"] = self_attention("decoder", i, two_sided=False)
            place = f"decoder.block.{i}.layer.1.EncDecAttention."
            plans[f"decoder.{i}.cross"] = LayerPlan(
                place,
                build=build,
                tensors=linears(place, _PROJECTIONS, bias=False),
                beside=(_BIAS,),  # the first checkpoints have one there, which was never used
            )
        return plans


def _by_distance(buckets: Tensor, *, reach: int, two_sided: bool) -> Tensor:
    """Returns the bias of every distance from -reach to reach, [heads, 2 * reach + 1].

    With two sides, the keys after a query have the second half of the buckets; with one, they are
    taken for the query's own place. Of a side's buckets the first half hold one distance each, the
    others ranges that widen by the same factor up to reach; the last also holds all beyond it.
    (Raffel et al. 2019, section 2.1.)

    Args:
        buckets: [buckets, heads].
        reach: Largest distance that is told from larger ones.
        two_sided: Whether keys after a query have buckets of their own.
    """
    distances = torch.arange(-reach, reach + 1)
    count = len(buckets) // 2 if two_sided else len(buckets)
    side = count * (distances > 0) if two_sided else 0
    distances = distances.abs() if two_sided else (-distances).clamp(min=0)
    single = count // 2
    # In float32, as in training: where ranges meet, rounding says which one a distance is in.
    widening = (distances.clamp(min=single).float() / single).log() / math.log(reach / single)
    range_ = (single + (widening * (count - single)).long()).clamp(max=count - 1)
    bucket = side + torch.where(distances < single, distances, range_)
    return buckets[bucket].T
