"""The state dict of a torch.nn.MultiheadAttention."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from attention_export.errors import SourceError
from attention_export.module import MultiHeadAttention
from attention_export.sources.checkpoint import Checkpoint
from attention_export.sources.digest import digest
from attention_export.sources.layer import SourceLayer, load_weights

__all__ = ["read_torch_layer"]

_STACKED = "in_proj_weight"  # W_Q, W_K and W_V, one below the other
_QUERY, _KEY, _VALUE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")  # of different widths
_STACKED_BIAS = "in_proj_bias"
_OUT = "out_proj.weight"
_OUT_BIAS = "out_proj.bias"


def read_torch_layer(path: Path, num_heads: int, *, prefix: str = "") -> SourceLayer:
    """Returns the layer whose state dict a safetensors file holds.

    Args:
        path: The file.
        num_heads: Heads of the module, of which its state dict says nothing.
        prefix: What stands before the names of the module's tensors, "encoder.self_attn" say.

    Raises:
        SourceError: No safetensors file, no such module in it, one made with ``add_bias_kv``, or
            sizes that do not fit together.
    """
    checkpoint = Checkpoint.open(path)
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    if not {prefix + _STACKED, prefix + _QUERY} & set(checkpoint.names()):
        raise SourceError(_absent(prefix, checkpoint))
    if prefix + "bias_k" in checkpoint or prefix + "bias_v" in checkpoint:
        raise SourceError(
            f"tensors {prefix}bias_k and {prefix}bias_v are a key and value that every query sees "
            "(add_bias_kv=True), which is not supported"
        )
    shapes = _shapes(prefix, checkpoint)
    stored = checkpoint.read({prefix + name: shape for name, shape in shapes.items()})
    weights = _weights({name: stored[prefix + name] for name in shapes})
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
    source = {"family": "torch.nn.MultiheadAttention", "layer": prefix.rstrip(".")}
    return SourceLayer(module, {**source, "digest": digest(stored)})


def _shapes(prefix: str, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Returns the shape that each tensor of the module must have."""
    embed_dim, _ = checkpoint.matrix_shape(prefix + _OUT)
    shapes: dict[str, tuple[int, ...]] = {_OUT: (embed_dim, embed_dim)}
    if prefix + _STACKED in checkpoint:
        shapes[_STACKED] = (3 * embed_dim, embed_dim)
    else:
        shapes[_QUERY] = (embed_dim, embed_dim)
        for name in (_KEY, _VALUE):
            _, width = checkpoint.matrix_shape(prefix + name)
            shapes[name] = (embed_dim, width)
    biases = {_STACKED_BIAS: (3 * embed_dim,), _OUT_BIAS: (embed_dim,)}
    return shapes | {name: biases[name] for name in biases if prefix + name in checkpoint}


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors by the names that they have in ``MultiHeadAttention``."""
    if _STACKED in tensors:
        w_q, w_k, w_v = tensors[_STACKED].chunk(3)
    else:
        w_q, w_k, w_v = (tensors[name] for name in (_QUERY, _KEY, _VALUE))
    weights = {"w_q.weight": w_q, "w_k.weight": w_k, "w_v.weight": w_v, "w_o.weight": tensors[_OUT]}
    if _STACKED_BIAS in tensors:
        b_q, b_k, b_v = tensors[_STACKED_BIAS].chunk(3)
        weights.update({"w_q.bias": b_q, "w_k.bias": b_k, "w_v.bias": b_v})
    if _OUT_BIAS in tensors:
        weights["w_o.bias"] = tensors[_OUT_BIAS]
    return weights


def _absent(prefix: str, checkpoint: Checkpoint) -> str:
    elsewhere = sorted(
        name.removesuffix(last).rstrip(".") or "no prefix"
        for name in checkpoint.names()
        for last in (_STACKED, _QUERY)
        if name.endswith(last)
    )
    found = f"; there is one under: {', '.join(elsewhere[:8])}" if elsewhere else ""
    where = f" under {prefix.rstrip('.')}" if prefix else " without a prefix"
    return f"there is no torch.nn.MultiheadAttention{where}{found}"
