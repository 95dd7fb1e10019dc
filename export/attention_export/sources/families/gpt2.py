"""GPT-2 (Radford et al. 2019): absolute positions, added before the first layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.causality import causality
from attention_export.sources.families.family import LayerPlan, Stored

__all__ = ["GPT2"]


class GPT2:
    """Self-attention of each layer."""

    model_types = ("gpt2",)
    brings = "decoder; scale by layer"
    prefixes = ("", "transformer.")

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order."""
        if config.flag("add_cross_attention", False):
            raise config.wrong("add_cross_attention", "must be false: GPT-2's is not supported")
        width, heads = config.shared("n_embd", "n_head")
        return {
            str(i): LayerPlan(
                place=f"h.{i}.attn.",
                build=partial(
                    MultiHeadAttention, width, heads, scale=_scale(config, width // heads, i)
                ),
                tensors=_tensors(f"h.{i}.attn.", width),
                beside=("bias", "masked_bias"),  # the causal mask, once saved with every layer
                causal=causality(config),
            )
            for i in range(config.layer_count("n_layer"))
        }


def _scale(config: Config, head_dim: int, index: int) -> float:
    by_size = config.flag("scale_attn_weights", True)
    by_layer = config.flag("scale_attn_by_inverse_layer_idx", False)
    scale = head_dim**-0.5 if by_size else 1.0
    return scale / (index + 1) if by_layer else scale


def _tensors(place: str, width: int) -> dict[str, Stored]:
    """Returns where the projections are: transposed, those of the inputs side by side."""
    tensors = {
        "w_o.weight": Stored(f"{place}c_proj.weight", take=Tensor.t),
        "w_o.bias": Stored(f"{place}c_proj.bias"),
    }
    for third, name in enumerate(("w_q", "w_k", "w_v")):
        take = partial(_third, third)
        tensors[f"{name}.weight"] = Stored(f"{place}c_attn.weight", (width, 3 * width), take)
        tensors[f"{name}.bias"] = Stored(f"{place}c_attn.bias", (3 * width,), take)
    return tensors


def _third(third: int, fused: Tensor) -> Tensor:
    return fused.chunk(3, dim=-1)[third].t()  # which leaves a bias as it is
