"""Tokens as labels: of one line, of bounded width, and with nothing unseen in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["columns", "label", "step_of", "widest"]

_JOINERS = "\u200c\u200d"
_SEEN_AS = {" ": "␣", "\n": "↵", "\t": "⇥", "\u3000": "␣", "\xa0": "␣"}


def label(token: str, most: int = 14) -> str:
    """Returns a token as it is shown, in at most so many columns.

    Spaces at its ends and characters that cannot be seen are shown by signs or by their numbers,
    joiners where they join nothing.
    """
    inner = token.strip(" ")
    start = len(token) - len(token.lstrip(" "))
    shown = "".join(
        character
        if (character.isprintable() and start <= place < start + len(inner))
        or (character in _JOINERS and 0 < place < len(token) - 1)
        else _SEEN_AS.get(character, character.encode("unicode_escape").decode())
        for place, character in enumerate(token)
    )
    if columns(shown) <= most:
        return shown
    while columns(shown) > most - 1:
        shown = shown[:-1]
    return f"{shown}…"


def columns(text: str) -> int:
    """Returns the width of a text: 2 for a character as wide as it is high, 1 for most others."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def step_of(least: float) -> int:
    """Returns the smallest step of 1, 2, 5, 10, 20, 50, ... that is no less than this."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least:
                return digit * power
        power *= 10


def widest(labels: Sequence[str]) -> int:
    """Returns the columns of the widest label."""
    return max(map(columns, labels), default=0)
