"""What a family of models has to say of itself, and of each of its attention layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from attention_export.module import MultiHeadAttention
from attention_export.sources.config import Config
from attention_service.manifest import Causal

__all__ = ["Family", "LayerPlan", "Stored", "linears"]


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint of which a parameter is made."""

    name: str
    """Name in the checkpoint, without the family's prefix."""
    shape: tuple[int, ...] | None = None
    """Shape in the checkpoint; that of the parameter if None."""
    take: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """Makes the parameter of the tensor: cuts it out of a fused one, say."""


@dataclass(frozen=True)
class LayerPlan:
    """One attention layer: what it computes and where its weights are stored."""

    place: str
    """What stands before the names of the layer's tensors, after the prefix, up to its last dot.

    A tensor there that is neither used nor listed in ``beside`` is an error: a layer that has more
    than the family knows of would compute something else.
    """
    build: Callable[[], MultiHeadAttention]
    """Makes the module, its weights not yet loaded; ValueError for sizes that do not fit."""
    tensors: Mapping[str, Stored]
    """Where each parameter comes from, by its name in the module; those left out become 0."""
    beside: tuple[str, ...] = ()
    """Beginnings of names after ``place`` that are no part of attention, or not learned."""
    causal: Causal = "none"
    """Causality that the layer was trained with."""
    window: tuple[int | None, int | None] = (None, None)
    """Keys before and after its place that a query sees; None for no limit."""
    source: Mapping[str, str] = field(default_factory=dict)
    """What else a manifest should tell of the layer: a choice that was made in reading it, say."""


class Family(Protocol):
    """Knows where its models keep their attention layers and what these compute."""

    @property
    def model_types(self) -> tuple[str, ...]:
        """Values of ``model_type`` in config.json."""

    @property
    def brings(self) -> str:
        """What its attention has beyond projections and heads, in a few words."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What may stand before all names in a checkpoint, by the class that was saved."""

    def layers(self, config: Config) -> Mapping[str, LayerPlan]:
        """Returns the layers by name, in order.

        Names are "0", "1", ... where there is one stack of layers, else "encoder.0",
        "decoder.0.self", "decoder.0.cross".

        Raises:
            SourceError: A config that is incomplete, or asks for what is not supported.
        """


def linears(
    place: str, projections: Mapping[str, str], *, bias: bool | tuple[str, ...] = True
) -> dict[str, Stored]:
    """Returns the tensors of projections that are stored as torch.nn.Linear stores them.

    Args:
        place: What stands before their names.
        projections: Name of each in the checkpoint, by its name in the module.
        bias: Whether they have biases, or which of them, by their names in the module.
    """
    biased = bias if isinstance(bias, tuple) else tuple(projections) if bias else ()
    parts = [(name, "weight") for name in projections] + [(name, "bias") for name in biased]
    return {f"{name}.{part}": Stored(f"{place}{projections[name]}.{part}") for name, part in parts}
