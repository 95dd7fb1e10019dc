"""Families of models in Hugging Face format; a family is one file here and one line below."""

from __future__ import annotations

from attention_export.sources.families.albert import Albert
from attention_export.sources.families.bart import Bart
from attention_export.sources.families.bert import Bert
from attention_export.sources.families.clip import Clip, ClipText, ClipVision
from attention_export.sources.families.distilbert import DistilBert
from attention_export.sources.families.electra import Electra
from attention_export.sources.families.family import Family
from attention_export.sources.families.gemma import Gemma2, Gemma3, Gemma3Text
from attention_export.sources.families.gpt2 import GPT2
from attention_export.sources.families.gpt_neox import GPTNeoX
from attention_export.sources.families.llama import Llama
from attention_export.sources.families.marian import Marian
from attention_export.sources.families.mistral import Mistral
from attention_export.sources.families.phi3 import Phi3
from attention_export.sources.families.qwen import Qwen2, Qwen3
from attention_export.sources.families.roberta import Roberta
from attention_export.sources.families.t5 import T5
from attention_export.sources.families.vit import Vit
from attention_export.sources.families.whisper import Whisper

__all__ = ["FAMILIES", "Family"]

FAMILIES: tuple[Family, ...] = (
    Bert(),
    Roberta(),
    DistilBert(),
    Electra(),
    Albert(),
    GPT2(),
    GPTNeoX(),
    Llama(),
    Mistral(),
    Qwen2(),
    Qwen3(),
    Gemma2(),
    Gemma3Text(),
    Gemma3(),
    Phi3(),
    T5(),
    Bart(),
    Marian(),
    Whisper(),
    Vit(),
    Clip(),
    ClipText(),
    ClipVision(),
)
"""All families, in the order in which people are told of them."""
