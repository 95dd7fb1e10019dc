"""RoBERTa (Liu et al. 2019): BERT's attention, trained longer."""

from __future__ import annotations

from attention_export.sources.families.bert import Bert

__all__ = ["Roberta"]


class Roberta(Bert):
    """Attention as in BERT; XLM-RoBERTa and CamemBERT differ in vocabulary alone."""

    model_types = ("roberta", "xlm-roberta", "camembert")
    prefixes = ("", "roberta.")
