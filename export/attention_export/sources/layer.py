"""A layer together with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_export.module import MultiHeadAttention
from attention_service.manifest import Causal

__all__ = ["SourceLayer", "load_weights"]


@dataclass(frozen=True)
class SourceLayer:
    """One attention layer as a source gives it."""

    module: MultiHeadAttention
    source: Mapping[str, str]
    """Family, layer and digest, for the manifest."""
    causal: Causal = "none"
    """Causality that the layer was trained with."""
    window: tuple[int | None, int | None] = (None, None)
    """Keys before and after its place that a query saw in training; None for no limit."""


def load_weights(module: MultiHeadAttention, weights: Mapping[str, Tensor]) -> None:
    """Copies weights of any floating-point type into the module's float32 parameters, by name.

    A parameter without weights, the bias of a projection that has none say, becomes 0.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
            else:
                parameter.zero_()
