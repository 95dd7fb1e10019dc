"""What a family of models has to say of itself."""

from __future__ import annotations

from typing import Protocol

from attention_export.sources.checkpoint import Checkpoint
from attention_export.sources.config import Config
from attention_export.sources.layer import SourceLayer

__all__ = ["Family"]


class Family(Protocol):
    """Knows where its models keep their attention layers and what these compute."""

    def layer_count(self, config: Config) -> int:
        """Returns the number of attention layers."""
        ...

    def layer(self, config: Config, checkpoint: Checkpoint, index: int) -> SourceLayer:
        """Returns one layer, ``index`` in 0 .. layer_count - 1.

        Raises:
            SourceError: Tensors that are missing or misshapen, or attention that
                ``MultiHeadAttention`` does not compute.
        """
        ...
