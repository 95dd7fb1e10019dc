"""The state dict of a torch.nn.MultiheadAttention."""

from __future__ import annotations

import re
from pathlib import Path

from attention_export.errors import SourceError
from attention_export.sources.checkpoint import Checkpoint
from attention_export.sources.layer import SourceLayer
from attention_export.sources.torch_layer import (
    BIAS,
    OUT,
    OUT_BIAS,
    SEPARATE,
    STACKED,
    torch_layer,
)

__all__ = ["read_torch_layer", "torch_layers"]


def read_torch_layer(path: Path, num_heads: int, *, prefix: str = "") -> SourceLayer:
    """Returns the layer whose state dict a safetensors file holds.

    Args:
        path: The file.
        num_heads: Heads of the module, of which its state dict says nothing. Nor does it say
            whether the module adds a key of zeros (``add_zero_attn``), which is not supported.
        prefix: What stands before the names of the module's tensors, "encoder.self_attn" say.

    Raises:
        SourceError: No safetensors file, no such module in it, one made with ``add_bias_kv``, or
            sizes that do not fit together.
    """
    checkpoint = Checkpoint.open(path)
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    if not {prefix + STACKED, prefix + SEPARATE[0]} & set(checkpoint.names()):
        raise SourceError(_absent(prefix, checkpoint))
    if prefix + "bias_k" in checkpoint or prefix + "bias_v" in checkpoint:
        raise SourceError(
            f"tensors {prefix}bias_k and {prefix}bias_v are a key and value that every query sees "
            "(add_bias_kv=True), which is not supported"
        )
    shapes = _shapes(prefix, checkpoint)
    stored = checkpoint.read({prefix + name: shape for name, shape in shapes.items()})
    tensors = {name: stored[prefix + name] for name in shapes}
    return torch_layer(tensors, num_heads, layer=prefix.rstrip("."))


def torch_layers(path: Path, *, prefix: str = "") -> list[str]:
    """Returns the prefix of every torch.nn.MultiheadAttention whose tensors a file holds.

    Args:
        path: The file, safetensors.
        prefix: Name of a module; only what it holds, or is, counts.

    Raises:
        SourceError: No safetensors file, or none in it.
    """
    checkpoint = Checkpoint.open(path)
    prefix = prefix.rstrip(".")
    found = [p for p in _prefixes(checkpoint) if not prefix or f"{p}.".startswith(f"{prefix}.")]
    if not found:
        raise SourceError(_absent(prefix, checkpoint))
    return found


def _prefixes(checkpoint: Checkpoint) -> list[str]:
    found = {
        name.removesuffix(last).rstrip(".")
        for name in checkpoint.names()
        for last in (STACKED, SEPARATE[0])
        if name == last or name.endswith(f".{last}")
    }
    return sorted(found, key=_by_number)


def _by_number(prefix: str) -> list[str | int]:
    """Returns a key by which layers.10 comes after layers.9."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", prefix))]


def _shapes(prefix: str, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Returns the shape that each tensor of the module must have."""
    embed_dim, _ = checkpoint.matrix_shape(prefix + OUT)
    shapes: dict[str, tuple[int, ...]] = {OUT: (embed_dim, embed_dim)}
    if prefix + STACKED in checkpoint:
        shapes[STACKED] = (3 * embed_dim, embed_dim)
    else:
        query, *others = SEPARATE
        shapes[query] = (embed_dim, embed_dim)
        for name in others:
            _, width = checkpoint.matrix_shape(prefix + name)
            shapes[name] = (embed_dim, width)
    biases = {BIAS: (3 * embed_dim,), OUT_BIAS: (embed_dim,)}
    return shapes | {name: biases[name] for name in biases if prefix + name in checkpoint}


def _absent(prefix: str, checkpoint: Checkpoint) -> str:
    elsewhere = [found or "no prefix" for found in _prefixes(checkpoint)]
    found = f"; there is one under: {', '.join(elsewhere[:8])}" if elsewhere else ""
    where = f" under {prefix.rstrip('.')}" if prefix else " without a prefix"
    return f"there is no torch.nn.MultiheadAttention{where}{found}"
