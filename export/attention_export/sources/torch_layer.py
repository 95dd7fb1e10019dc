"""The weights of a torch.nn.MultiheadAttention, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from attention_export.errors import SourceError
from attention_export.module import MultiHeadAttention
from attention_export.sources.digest import digest
from attention_export.sources.layer import SourceLayer, load_weights

__all__ = ["BIAS", "OUT", "OUT_BIAS", "SEPARATE", "STACKED", "torch_layer"]

STACKED = "in_proj_weight"  # W_Q, W_K and W_V, one below the other
SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")  # of different widths
BIAS = "in_proj_bias"  # of all three
OUT = "out_proj.weight"
OUT_BIAS = "out_proj.bias"


def torch_layer(tensors: Mapping[str, Tensor], num_heads: int, *, layer: str) -> SourceLayer:
    """Returns the layer that has these weights.

    Args:
        tensors: ``SEPARATE`` or ``STACKED``, ``OUT``, and where there are biases ``BIAS`` and
            ``OUT_BIAS``, shaped as torch shapes them.
        num_heads: Heads.
        layer: Where in its model the layer stands, for the manifest.

    Raises:
        SourceError: Sizes that do not fit together.
    """
    weights = _weights(tensors)
    try:
        module = MultiHeadAttention(
            weights["w_q.weight"].shape[1],
            num_heads,
            key_dim=weights["w_k.weight"].shape[1],
            value_dim=weights["w_v.weight"].shape[1],
            bias=any(name.endswith("bias") for name in weights),
        )
    except ValueError as error:
        raise SourceError(str(error)) from None
    load_weights(module, weights)
    source = {"family": "torch.nn.MultiheadAttention", "layer": layer}
    return SourceLayer(module, {**source, "digest": digest(tensors)})


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors by the names that they have in ``MultiHeadAttention``."""
    if STACKED in tensors:
        w_q, w_k, w_v = tensors[STACKED].chunk(3)
    else:
        w_q, w_k, w_v = (tensors[name] for name in SEPARATE)
    weights = {"w_q.weight": w_q, "w_k.weight": w_k, "w_v.weight": w_v, "w_o.weight": tensors[OUT]}
    if BIAS in tensors:
        b_q, b_k, b_v = tensors[BIAS].chunk(3)
        weights.update({"w_q.bias": b_q, "w_k.bias": b_k, "w_v.bias": b_v})
    if OUT_BIAS in tensors:
        weights["w_o.bias"] = tensors[OUT_BIAS]
    return weights
