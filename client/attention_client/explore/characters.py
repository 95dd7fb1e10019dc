"""Text by characters, one embedding each, as examples/demo has it; numpy is all it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MASK",
    "PAD",
    "SPECIAL_ROWS",
    "TABLE_FILE",
    "UNKNOWN",
    "VOCABULARY_FILE",
    "CharacterEmbedding",
    "Vocabulary",
    "sinusoids",
]

PAD, UNKNOWN, MASK = 0, 1, 2  # the first rows of every table; characters follow
SPECIAL_ROWS = 3

VOCABULARY_FILE = "vocabulary.txt"
TABLE_FILE = "embedding.npy"


@dataclass(frozen=True)
class Vocabulary:
    """Numbers characters in the order in which they stand in ``characters``."""

    characters: str

    def __len__(self) -> int:
        return SPECIAL_ROWS + len(self.characters)

    def ids(self, sentences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns ids [batch, length], padded at the end, and the lengths [batch]."""
        row = {character: SPECIAL_ROWS + i for i, character in enumerate(self.characters)}
        lengths = np.array([len(sentence) for sentence in sentences], np.int64)
        ids = np.full((len(sentences), int(lengths.max())), PAD, np.int64)
        for line, sentence in zip(ids, sentences, strict=True):
            line[: len(sentence)] = [row.get(character, UNKNOWN) for character in sentence]
        return ids, lengths


@dataclass(frozen=True)
class CharacterEmbedding:
    """Turns sentences into what the attention layer reads: character plus position."""

    vocabulary: Vocabulary
    table: NDArray[np.float32]  # [vocabulary, width], every row of mean 0 and variance 1

    @classmethod
    def load(cls, folder: Path) -> CharacterEmbedding:
        """Returns the embedding whose vocabulary and table lie in ``folder``."""
        characters = (folder / VOCABULARY_FILE).read_text(encoding="utf-8").removesuffix("\n")
        table = np.load(folder / TABLE_FILE, allow_pickle=False).astype(np.float32)
        return cls(Vocabulary(characters), table)

    def save(self, folder: Path) -> None:
        """Writes vocabulary and table to ``folder``; float16 halves the table."""
        (folder / VOCABULARY_FILE).write_text(self.vocabulary.characters + "\n", encoding="utf-8")
        np.save(folder / TABLE_FILE, self.table.astype(np.float16), allow_pickle=False)

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return int(self.table.shape[1])

    @property
    def note(self) -> str:
        """What the embeddings are made of."""
        return "one token a character, its embedding and its position added"

    def tokens(self, sentence: str) -> list[str]:
        """Returns the characters."""
        return list(sentence)

    def embed(self, *sentences: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns embeddings float32 [batch, length, width] and the lengths [batch].

        Shorter sentences are padded at the end with the row of the padding character, which is no
        row of zeros: only a mask keeps it out.
        """
        ids, lengths = self.vocabulary.ids(sentences)
        return self.table[ids] + sinusoids(ids.shape[1], self.width), lengths


def sinusoids(length: int, width: int) -> NDArray[np.float32]:
    """Returns positions 0 .. length - 1 as sines and cosines, float32 [length, width].

    (Vaswani et al. 2017, "Attention Is All You Need", section 3.5.)
    """
    frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None] * frequencies  # [length, width / 2]
    table = np.empty((length, width), np.float32)
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)
    return table
