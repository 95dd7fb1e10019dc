"""Attention itself, between the projections, as ONNX graphs that serve every model.

No size is fixed in them, the number of heads included, and what changes with a request (the
factor on the dot products, masks, the softcap) is an input. ``fast`` is ONNX's own Attention
operator; ``flash`` is ONNX Runtime's; ``full`` is written out step by step, so that every step can
be an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn

from attention_export.attention_operator import attention_operator, attention_operator_with_weights
from attention_export.to_onnx import TensorSpec, to_onnx

__all__ = ["FILE_NAMES", "attention_graph"]

_QUERY = TensorSpec(("batch", "heads", "query_len", "head_dim"))
_KEY = TensorSpec(("batch", "kv_heads", "kv_len", "head_dim"))
_VALUE = TensorSpec(("batch", "kv_heads", "kv_len", "value_head_dim"))
_SCALAR = TensorSpec(())
_BIAS = TensorSpec(("bias_batch", "bias_heads", "query_len", "kv_len"))
_ANY_BIAS = TensorSpec(("bias_batch", "bias_heads", "bias_query_len", "bias_kv_len"))
_PAIRS = TensorSpec(("batch", "heads", "query_len", "kv_len"))
_HEAD_OUTPUTS = TensorSpec(("batch", "heads", "query_len", "value_head_dim"))
_ROWS = TensorSpec(("batch", "heads", "query_len"))


class _Fast(nn.Module):
    """The operator, with the scale as an input: its own is a constant of the graph."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: Tensor,
        attn_bias: Tensor | None = None,
    ) -> Tensor:
        return attention_operator(query * scale, key, value, attn_bias, scale=1.0)


class _FastWithWeights(nn.Module):
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: Tensor,
        attn_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return attention_operator_with_weights(query * scale, key, value, attn_bias, scale=1.0)


class _Flash(nn.Module):
    """ONNX Runtime's own operator, whose scores without a mask never leave the cache of a core.

    See FlashAttention, Dao et al. 2022. With masks it is wrong for rows that see nothing.

    Its number of heads is a constant of the graph: here it is 1, and every head is a sequence. The
    query heads that share a key and value head stand one below the other, for without a mask the
    rows of a sequence know nothing of each other.
    """

    def forward(
        self,
        query: Tensor,  # [batch, heads, query_len, head_dim]
        key: Tensor,  # [batch, kv_heads, kv_len, head_dim]
        value: Tensor,  # [batch, kv_heads, kv_len, value_head_dim]
        scale: Tensor,
    ) -> Tensor:
        batch, heads, query_len, head_dim = query.shape
        _, kv_heads, _, value_head_dim = value.shape
        grouped = (query * scale).reshape(batch * kv_heads, -1, head_dim)
        attended = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            (grouped, key.flatten(0, 1), value.flatten(0, 1)),
            {"num_heads": 1, "scale": 1.0},
            dtype=query.dtype,
            shape=(*grouped.shape[:2], value_head_dim),
            version=1,
        )
        return attended.reshape(batch, heads, query_len, value_head_dim)


class _Full(nn.Module):
    """softmax(softcap(scale * Q K^T) + bias) V, every step kept."""

    def forward(
        self,
        query: Tensor,  # [batch, heads, query_len, head_dim]
        key: Tensor,  # [batch, kv_heads, kv_len, head_dim]
        value: Tensor,  # [batch, kv_heads, kv_len, value_head_dim]
        scale: Tensor,
        attn_bias: Tensor,
        softcap: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, heads, query_len, head_dim = query.shape
        _, kv_heads, kv_len, value_head_dim = value.shape
        # The query heads of a group stand one below the other and share their key and value head,
        # which is so never repeated.
        grouped = (query * scale).reshape(batch, kv_heads, -1, head_dim)
        scores = (grouped @ key.transpose(-1, -2)).reshape(batch, heads, query_len, kv_len)
        capped = scores if softcap is None else softcap * (scores / softcap).tanh()
        logits = _add_broadcast(capped, attn_bias)

        largest = logits.amax(-1, keepdim=True)  # -inf where nothing is in sight
        shift = torch.where(largest == -torch.inf, 0.0, largest)
        exponentials = (logits - shift).exp()
        denominator = exponentials.sum(-1, keepdim=True)  # 0 where nothing is in sight
        weights = exponentials / torch.where(denominator == 0.0, 1.0, denominator)
        log_sum_exp = (denominator.log() + shift).squeeze(-1)

        grouped = weights.reshape(batch, kv_heads, -1, kv_len)
        head_outputs = (grouped @ value).reshape(batch, heads, query_len, value_head_dim)
        return scores, weights, head_outputs, log_sum_exp


def _add_broadcast(x: Tensor, bias: Tensor) -> Tensor:
    """Adds as ONNX does; torch's own addition would take each size of the bias for x's."""
    return torch.onnx.ops.symbolic("Add", (x, bias), dtype=x.dtype, shape=x.shape, version=14)


# All different, so that tracing takes no dimension for another; kv_heads divides heads.
_SIZES = {
    "batch": 2,
    "kv_heads": 3,
    "heads": 6,
    "query_len": 4,
    "kv_len": 5,
    "head_dim": 7,
    "value_head_dim": 8,
    "bias_batch": 9,
    "bias_heads": 10,
    "bias_query_len": 11,
    "bias_kv_len": 12,
}

_FAST: dict[str, TensorSpec] = {"head_outputs": _HEAD_OUTPUTS}
_FAST_WITH_WEIGHTS = {**_FAST, "weights": _PAIRS}
_FULL = {"scores": _PAIRS, "weights": _PAIRS, **_FAST, "log_sum_exp": _ROWS}
_BIASED = {"attn_bias": _BIAS}
_BIASED_BY_ANY = {"attn_bias": _ANY_BIAS}
# File name: module, inputs after query, key, value and scale, outputs.
_GRAPHS: Mapping[str, tuple[type[nn.Module], dict[str, TensorSpec], dict[str, TensorSpec]]] = {
    "fast.onnx": (_Fast, _BIASED, _FAST),
    "fast_weights.onnx": (_FastWithWeights, _BIASED, _FAST_WITH_WEIGHTS),
    "fast_unmasked.onnx": (_Fast, {}, _FAST),
    "fast_unmasked_weights.onnx": (_FastWithWeights, {}, _FAST_WITH_WEIGHTS),
    "flash_unmasked.onnx": (_Flash, {}, _FAST),
    "full.onnx": (_Full, _BIASED_BY_ANY, _FULL),
    "full_softcap.onnx": (_Full, {**_BIASED_BY_ANY, "softcap": _SCALAR}, _FULL),
}
FILE_NAMES = tuple(_GRAPHS)


@cache
def attention_graph(file_name: str) -> bytes:
    """Returns one of ``FILE_NAMES`` as a serialized ONNX model.

    ``fast*``, ``flash*``: query, key, value, scale and, unless unmasked, attn_bias -> head_outputs
    and, with weights, weights. ``full*``: query, key, value, scale, attn_bias and, with softcap,
    softcap -> scores, weights, head_outputs, log_sum_exp. In ``full*`` the bias broadcasts in every
    dimension, in ``fast*`` over batch and heads. Rows whose bias is -inf throughout have weights
    and head outputs 0 and log_sum_exp -inf.
    """
    module, arguments, results = _GRAPHS[file_name]
    inputs = {"query": _QUERY, "key": _KEY, "value": _VALUE, "scale": _SCALAR, **arguments}
    return to_onnx(module().eval(), inputs=inputs, outputs=results, sizes=_SIZES)
