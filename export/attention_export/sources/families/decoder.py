"""What decoders with rotary positions share: their sizes, and Llama's names of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_export.sources.families.family import LayerPlan, Stored, linears
from attention_export.sources.rope import Rope
from attention_service.manifest import Causal

__all__ = ["Heads", "llama_layer", "sliding_layers"]

_PROJECTIONS = {"w_q": "q_proj", "w_k": "k_proj", "w_v": "v_proj", "w_o": "o_proj"}
_SLIDING, _FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class Heads:
    """Sizes that all layers of a model have."""

    query_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @classmethod
    def read(
        cls,
        config: Config,
        *,
        query_dim: int | None = None,
        num_heads: int | None = None,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
    ) -> Heads:
        """Returns the sizes in config.json; of those that it leaves out, the family's own."""
        sizes = query_dim, num_heads
        width = config.size("hidden_size", query_dim)
        heads = config.size("num_attention_heads", num_heads)
        kv_heads = config.optional_size("num_key_value_heads", num_kv_heads) or heads
        if heads % kv_heads:
            raise config.wrong(
                "num_attention_heads",
                f"({heads}) must be a multiple of num_key_value_heads ({kv_heads})",
            )
        head_dim = config.optional_size("head_dim", head_dim)
        if head_dim is None:
            config.shared("hidden_size", "num_attention_heads", sizes)
            head_dim = width // heads
        return cls(width, heads, kv_heads, head_dim)

    @classmethod
    def read_even(cls, config: Config) -> Heads:
        """Returns the sizes of a family whose heads always share its width, ungrouped."""
        width, heads = config.shared("hidden_size", "num_attention_heads")
        return cls(width, heads, heads, width // heads)

    def build(
        self,
        rope: Rope,
        *,
        bias: bool = False,
        scale: float | None = None,
        softcap: float = 0.0,
        norm_eps: float | None = None,
    ) -> MultiHeadAttention:
        """Returns a layer of these sizes; the rest is as ``MultiHeadAttention`` takes it."""
        return MultiHeadAttention(
            self.query_dim,
            self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            bias=bias,
            scale=scale,
            softcap=softcap,
            norm_eps=norm_eps,
            rotary=rope.module(),
        )


def llama_layer(
    index: int,
    build: Callable[[], MultiHeadAttention],
    rope: Rope,
    *,
    bias: bool | tuple[str, ...] = False,
    norm: Callable[[Tensor], Tensor] | None = None,
    causal: Causal,
    window: tuple[int | None, int | None] = (None, None),
) -> LayerPlan:
    """Returns a layer whose tensors have the names that Llama gives them.

    Args:
        index: Its number, from 0.
        build: Makes the module.
        rope: What turns its heads.
        bias: Whether all projections have biases, or which, by their names in the module.
        norm: Makes the weight of a norm of the stored tensor; without norms if absent.
        causal, window: As the layer was trained.
    """
    place = f"layers.{index}.self_attn."
    norms = {}
    if norm is not None:
        norms = {
            "query_norm.weight": Stored(f"{place}q_norm.weight", take=norm),
            "key_norm.weight": Stored(f"{place}k_norm.weight", take=norm),
        }
    return LayerPlan(
        place=place,
        build=build,
        tensors={**linears(place, _PROJECTIONS, bias=bias), **norms},
        beside=("rotary_emb.",),  # once saved with every layer, though it is not learned
        causal=causal,
        window=window,
        source=rope.source,
    )


def sliding_layers(config: Config, otherwise: Sequence[bool]) -> tuple[bool, ...]:
    """Returns which layers see a window alone.

    Args:
        config: Says so in ``layer_types``.
        otherwise: What it means where it says nothing, layer by layer.
    """
    types = config.texts("layer_types")
    if types is None:
        return tuple(otherwise)
    if len(types) != len(otherwise):
        raise config.wrong("layer_types", f"must name {len(otherwise)} layers, not {len(types)}")
    for unknown in sorted(set(types) - {_SLIDING, _FULL}):
        raise config.wrong("layer_types", f"names {unknown!r}, which is not {_SLIDING} or {_FULL}")
    return tuple(kind == _SLIDING for kind in types)
