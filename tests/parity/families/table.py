"""Every family that the exporter reads, by kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from tests.parity.families.decoders import DECODERS
from tests.parity.families.encoder_decoders import ENCODER_DECODERS
from tests.parity.families.encoders import ENCODERS
from tests.parity.families.row import Family, Layer

__all__ = ["LAYERS", "Asked"]

FAMILIES = (*ENCODERS, *DECODERS, *ENCODER_DECODERS)


@dataclass(frozen=True, eq=False)
class Asked:
    """One exported layer."""

    family: Family
    layer_name: str

    @property
    def layer(self) -> Layer:
        """Where transformers keeps it."""
        return self.family.layers[self.layer_name]

    @property
    def model(self) -> str:
        """The name under which it is served."""
        return f"{self.family.name}.{self.layer_name}"

    def __repr__(self) -> str:
        return self.model


LAYERS = tuple(Asked(family, name) for family in FAMILIES for name in family.layers)
