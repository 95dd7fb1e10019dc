"""Texts as a Hugging Face directory has them: tokenizer.json and the tables of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from attention_client.explore.checkpoint import Checkpoint
from attention_client.explore.errors import ExploreError
from attention_client.explore.layouts import Layout, layout_of

__all__ = ["HuggingFaceEmbedding"]


@dataclass(frozen=True)
class HuggingFaceEmbedding:
    """Turns sentences into what the first attention layer of a checkpoint reads."""

    tokenizer: Tokenizer
    layout: Layout
    pad_id: int

    @classmethod
    def load(cls, folder: Path) -> HuggingFaceEmbedding:
        """Returns the tokenizer and the tables in ``folder``.

        Raises:
            ExploreError: Files that are no such thing, or no table of word embeddings.
        """
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ExploreError(f"{path}: no tokenizer of the tokenizers library") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        checkpoint = Checkpoint.open(folder)
        pad = checkpoint.config.get("pad_token_id")
        return cls(tokenizer, layout_of(checkpoint), pad if isinstance(pad, int) else 0)

    @cached_property
    def width(self) -> int:
        """Numbers in an embedding."""
        return int(self.layout.embed(np.zeros((1, 1), np.int64)).shape[2])

    @property
    def note(self) -> str:
        """What the embeddings are made of."""
        return self.layout.note

    def tokens(self, sentence: str) -> list[str]:
        """Returns the tokens: "##ing" where a word goes on, else the text that one stands for."""
        encoding = self.tokenizer.encode(sentence)
        return [
            token if token.startswith("##") else sentence[start:end].strip() or token
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        ]

    def embed(self, *sentences: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns embeddings float32 [batch, length, width] and the lengths [batch].

        Shorter sentences are padded at the end with the padding token; only a mask keeps it out.

        Raises:
            ExploreError: A sentence longer than the checkpoint has positions for.
        """
        ids = [self.tokenizer.encode(sentence).ids for sentence in sentences]
        lengths = np.array([len(line) for line in ids], np.int64)
        padded = np.full((len(ids), int(lengths.max())), self.pad_id, np.int64)
        for row, line in zip(padded, ids, strict=True):
            row[: len(line)] = line
        return self.layout.embed(padded), lengths
