"""Families of models in Hugging Face format, by ``model_type``; a family is one file here."""

from __future__ import annotations

from collections.abc import Mapping

from attention_export.sources.families.bert import Bert
from attention_export.sources.families.family import Family

__all__ = ["FAMILIES", "Family"]

FAMILIES: Mapping[str, Family] = {"bert": Bert()}
