"""Fresh weights, drawn from a seed."""

from __future__ import annotations

from functools import partial

import torch

from attention_export.errors import SourceError
from attention_export.graph_size import check_size
from attention_export.module import MultiHeadAttention
from attention_export.sources.digest import digest
from attention_export.sources.layer import SourceLayer

__all__ = ["fresh_layer"]


def fresh_layer(
    embed_dim: int,
    num_heads: int,
    *,
    seed: int,
    num_kv_heads: int | None = None,
    key_dim: int | None = None,
    value_dim: int | None = None,
    output_dim: int | None = None,
    head_dim: int | None = None,
    value_head_dim: int | None = None,
    bias: bool = True,
) -> SourceLayer:
    """Returns an untrained layer, the same for the same arguments.

    Args:
        embed_dim: Last dimension of the query.
        num_heads: Query heads.
        seed: Where torch's random numbers begin; the caller's own go on undisturbed.
        num_kv_heads, key_dim, value_dim, output_dim, head_dim, value_head_dim, bias: As
            ``MultiHeadAttention`` takes them.

    Raises:
        SourceError: Sizes that do not fit together.
        ExportError: A layer too large for one ONNX file.
    """
    layer = partial(
        MultiHeadAttention,
        embed_dim,
        num_heads,
        num_kv_heads=num_kv_heads,
        key_dim=key_dim,
        value_dim=value_dim,
        output_dim=output_dim,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
        bias=bias,
    )
    try:
        with torch.device("meta"):  # sizes without memory
            check_size(layer())
    except ValueError as error:
        raise SourceError(str(error)) from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = layer()
    source = {"family": "fresh", "seed": str(seed), "digest": digest(module.state_dict())}
    return SourceLayer(module, source)
