"""A row of the table of families: a tiny model, its layers, and what a server says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_client import AttentionSettings
from attention_service.manifest import Causal, Positions

__all__ = ["Family", "Layer"]


@dataclass(frozen=True)
class Layer:
    """One attention layer: where transformers keeps it, and what ``GetModel`` must show."""

    place: str
    """The attention, a submodule of the model: "encoder.layer.1.attention" say."""
    ends: str = ""
    """Submodule of the attention whose output is compared, where a residual connection and
    LayerNorm follow inside; absent: the attention's own output."""
    runs: str | None = ""
    """Submodule that is run on tokens to reach the attention, "decoder" say; "" for the whole
    model; None for the attention itself, on hidden states: images have no tokens to pad."""
    memory: bool = False
    """Whether what is run attends to an encoder's states too, in this layer or in another."""
    cross: bool = False
    """Whether this layer attends to an encoder's states."""
    decodes: bool = False
    """Whether tokens come step by step, the ones before being in a cache."""

    width: int = 32
    """Last dimension of query, key, value and output."""
    heads: int = 4
    kv_heads: int | None = None
    """As ``heads`` if absent."""
    head_dim: int = 8
    """Size of every head."""
    scale: float | None = None
    """1 / sqrt(head_dim) if absent."""
    softcap: float = 0.0
    causal: Causal = "none"
    window: tuple[int | None, int | None] | None = None
    positions: Positions = "none"

    @property
    def settings(self) -> AttentionSettings:
        """What is computed where a request says nothing."""
        scale = self.head_dim**-0.5 if self.scale is None else self.scale
        return AttentionSettings(
            num_heads=self.heads,
            num_kv_heads=self.kv_heads or self.heads,
            scale=float(np.float32(scale)),  # as it travels
            softcap=float(np.float32(self.softcap)),
            causal=self.causal,
            window=self.window,
        )


@dataclass(frozen=True, eq=False)
class Family:
    """One model as transformers builds it, tiny and with random weights."""

    name: str
    """Begins the names under which its layers are served; unique in the table."""
    architecture: str
    """Class of transformers; its configuration's class follows from it."""
    config: Mapping[str, Any]
    """Fields of the configuration that differ from the default."""
    layers: Mapping[str, Layer]
    """Layers to export, one of each kind, by the name that the exporter gives them."""
