"""The task: read a character for the second time, and name the one that followed the first time.

A text is some different characters, then the same ones in another order:

    天地玄黄宇宙洪荒 宇宙洪荒天地玄黄

At its second 宙 the answer is 洪. Nothing but the text itself tells the answer, for every text is
drawn anew: what can be learned is where to look.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CHARACTERS", "SHOWN", "Texts", "draw", "written"]

CHARACTERS = (
    "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳"
    "云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光果珍李柰菜重芥姜"
)
"""The first 64 of the Thousand Character Classic (千字文, 6th century): none comes twice."""

SHOWN = "天地玄黄宇宙洪荒宇宙洪荒天地玄黄"
"""The text in the pictures: its first two phrases, then the same in the other order."""


@dataclass(frozen=True)
class Texts:
    """Texts of one length, and where the answers stand in them."""

    ids: Tensor
    """int64 [batch, length]: characters as their index in ``CHARACTERS``."""
    answer_at: Tensor
    """int64 [batch, length / 2]: where each character of the second half has its answer."""

    @property
    def half(self) -> int:
        """Length of the half that is asked about, the second."""
        return self.answer_at.shape[1]

    @property
    def answers(self) -> Tensor:
        """The right answers, int64 [batch, length / 2]."""
        return self.ids.gather(1, self.answer_at)

    def pairs(self) -> list[tuple[int, int, int]]:
        """Returns (text, query, key) for each question: the key holds the query's answer."""
        return [
            (text, self.half + i, key)
            for text, row in enumerate(self.answer_at.tolist())
            for i, key in enumerate(row)
        ]


def draw(count: int, half: int) -> Texts:
    """Returns ``count`` random texts of ``2 * half`` characters."""
    first = torch.rand(count, len(CHARACTERS)).argsort(1)[:, :half]  # different characters
    order = torch.rand(count, half).argsort(1)
    again = first.gather(1, order)
    # Character k of the first half is followed by character k + 1, the last by the second half.
    return Texts(torch.cat([first, again], 1), order + 1)


def written(text: str) -> Texts:
    """Returns one text of which the second half has the characters of the first."""
    half = len(text) // 2
    places = [text.index(character) + 1 for character in text[half:]]
    ids = [CHARACTERS.index(character) for character in text]
    return Texts(torch.tensor([ids]), torch.tensor([places]))
