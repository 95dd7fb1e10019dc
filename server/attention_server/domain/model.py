"""What a model is to a request: its sizes, its defaults, what it can give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from attention_service.manifest import OUTPUTS, Causal, Positions

__all__ = ["NO_WINDOW", "SDPA", "AttentionSettings", "Model", "ModelKey", "Window"]


class Window(NamedTuple):
    """Keys that a query at place p sees: p - left <= j <= p + right; None for no limit."""

    left: int | None = None
    right: int | None = None


NO_WINDOW = Window()
"""No limit on either side."""


class ModelKey(NamedTuple):
    """Names one version of one model."""

    name: str
    version: str


@dataclass(frozen=True)
class AttentionSettings:
    """The attention that is computed."""

    num_heads: int
    num_kv_heads: int
    scale: float
    """Factor on the dot products; 0 for a model that comes whole, which keeps it to itself."""
    softcap: float = 0.0
    """Bound of the scores; 0 for none."""
    causal: Causal = "none"
    window: Window = NO_WINDOW


@dataclass(frozen=True)
class Model:
    """One attention layer. A size of 0 is the request's to say, or nobody's: see ``whole``."""

    key: ModelKey
    query_dim: int
    key_dim: int
    value_dim: int
    output_dim: int
    head_dim: int
    value_head_dim: int
    defaults: AttentionSettings
    positions: Positions = "none"
    outputs: tuple[str, ...] = OUTPUTS
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def projects(self) -> bool:
        """Whether the model has projections; "sdpa" has none."""
        return self.query_dim > 0

    @property
    def whole(self) -> bool:
        """Whether the model cannot be taken apart: what is inside, its heads too, nobody sees."""
        return self.projects and self.head_dim == 0


SDPA = Model(
    key=ModelKey("sdpa", "1"),
    query_dim=0,
    key_dim=0,
    value_dim=0,
    output_dim=0,
    head_dim=0,
    value_head_dim=0,
    defaults=AttentionSettings(num_heads=0, num_kv_heads=0, scale=0.0),
    source={"family": "scaled dot-product attention"},
)
"""Scaled dot-product attention without projections, built in."""
