"""Texts as embeddings: what an attention layer reads, from a directory that a person points to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attention_client.explore.characters import TABLE_FILE, VOCABULARY_FILE, CharacterEmbedding
from attention_client.explore.errors import ExploreError

__all__ = ["Texts", "open_texts"]


class Texts(Protocol):
    """A tokenizer and the embeddings of its tokens."""

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        ...

    @property
    def note(self) -> str:
        """What the embeddings are made of."""
        ...

    def tokens(self, sentence: str, /) -> list[str]:
        """Returns the tokens, as a person reads them."""
        ...

    def embed(self, *sentences: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns embeddings float32 [batch, length, width], padded at the end, and the lengths."""
        ...


def open_texts(folder: Path | str) -> Texts:
    """Returns the texts of a directory: vocabulary.txt and embedding.npy, or Hugging Face's files.

    Raises:
        ExploreError: No such directory, or nothing in it that is known.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExploreError(f"{folder}: no such directory")
    if (folder / VOCABULARY_FILE).is_file() and (folder / TABLE_FILE).is_file():
        try:
            return CharacterEmbedding.load(folder)
        except (ValueError, EOFError) as error:
            raise ExploreError(f"{folder / TABLE_FILE}: no .npy file of numbers") from error
    if (folder / "tokenizer.json").is_file():
        from attention_client.explore.huggingface import HuggingFaceEmbedding

        return HuggingFaceEmbedding.load(folder)
    raise ExploreError(
        f"{folder} must hold {VOCABULARY_FILE} and {TABLE_FILE}, or tokenizer.json and "
        "model.safetensors"
    )
