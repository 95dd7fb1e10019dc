"""ELECTRA (Clark et al. 2020): BERT's attention, trained to find the tokens that were replaced."""

from __future__ import annotations

from attention_export.sources.families.bert import Bert

__all__ = ["Electra"]


class Electra(Bert):
    """Attention as in BERT, in generator and discriminator."""

    model_types = ("electra",)
    prefixes = ("", "electra.")
