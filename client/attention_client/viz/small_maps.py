"""Small heat maps for the terminal: a few columns a cell, readable without colour too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from attention_client.viz.colours import WEIGHT_RAMP_DARK, colour_of
from attention_client.viz.labels import widest
from attention_client.viz.maps import Floats, Side, WeightMap, pooled

__all__ = ["small_maps"]

_CELL = 2  # columns: as wide as a Chinese character, and about as wide as high
_MOST_CELLS = 24  # a side
_POOLED_CELLS = 16  # a side, of maps with more
_GAP = 3  # columns between maps
_WIDEST_LABEL = 10  # columns
_SHADES = ((0.75, "██"), (0.5, "▓▓"), (0.25, "▒▒"), (0.05, "░░"), (0.0, "  "))
"""What a cell shows without colour, from these shares of the scale on."""
_MASKED = "· "


def small_maps(maps: Sequence[WeightMap], *, width: int, colour: bool) -> Iterator[Text]:
    """Yields lines with all maps, as many beside each other as so many columns hold.

    All are on one scale, which the last line tells. Where a map has more than 24 rows or keys,
    a cell is the largest weight of a block.

    Args:
        maps: Maps with the same sides.
        width: Columns of the terminal.
        colour: Whether cells are coloured; else they are shaded.
    """
    first = maps[0]
    block = _block(len(first.rows)), _block(len(first.keys))
    rows, keys = _named(first.rows, block[0]), _named(first.keys, block[1])
    head = _head(keys, block[1])
    margin = min(widest(rows), _WIDEST_LABEL) + 1
    map_width = max(_CELL * len(keys), *(cell_len(each.title) for each in maps))
    across = max(1, (width - margin + _GAP) // (map_width + _GAP))
    scale = _scale(max(float(each.weights.max()) for each in maps))
    cells = [pooled(each.weights, each.masked, *block) for each in maps]
    for start in range(0, len(maps), across):
        beside = slice(start, start + across)
        yield _line("", margin, [Text(each.title, "bold") for each in maps[beside]], map_width)
        yield _line("", margin, [Text(head) for _ in maps[beside]], map_width)
        for row, name in enumerate(rows):
            parts = [
                _cells(weights[row], masked[row], scale, colour)
                for weights, masked in cells[beside]
            ]
            yield _line(name, margin, parts, map_width)
        yield Text()
    yield from _legend(scale, block, colour)


def _block(length: int) -> int:
    """Returns how many rows or keys share a cell."""
    return 1 if length <= _MOST_CELLS else math.ceil(length / _POOLED_CELLS)


def _named(side: Side, block: int) -> list[str]:
    """Returns the label of each cell along a side: of a block, the number of its first."""
    if block == 1:
        return list(side.labels)
    return [str(place) for place in side.places[::block]]


def _head(names: Sequence[str], block: int) -> str:
    """Returns the labels of the keys, where they have room; else numbers, or some of them."""
    if block == 1:
        shown = names if widest(names) <= _CELL else [str(i) for i in range(len(names))]
        return "".join(set_cell_size(name, _CELL) for name in shown)
    step = math.ceil((len(names[-1]) + 1) / _CELL)
    whole = len(names) // step * step  # a number beyond has no room
    return "".join(set_cell_size(name, _CELL * step) for name in names[:whole:step])


def _line(name: str, margin: int, parts: Sequence[Text], width: int) -> Text:
    line = Text(set_cell_size(name, margin - 1) + " ")
    for number, part in enumerate(parts):
        line.append_text(part)
        if number + 1 < len(parts):
            line.append(" " * (width - part.cell_len + _GAP))
    return line


def _cells(weights: Floats, masked: NDArray[np.bool_], scale: float, colour: bool) -> Text:
    line = Text()
    for weight, is_masked in zip(weights.tolist(), masked.tolist(), strict=True):
        if is_masked:
            line.append(_MASKED, "dim")
        elif colour:
            line.append("  ", Style(bgcolor=colour_of(weight / scale, WEIGHT_RAMP_DARK)))
        else:
            line.append(next(shade for least, shade in _SHADES if weight / scale >= least))
    return line


def _scale(largest: float) -> float:
    """Returns the end of the scale: 1, or what is enough for maps of small weights."""
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if largest <= end), 1.0)


def _legend(scale: float, block: tuple[int, int], colour: bool) -> Iterator[Text]:
    if colour:
        line = Text("0 ")
        for step in range(16):
            line.append(" ", Style(bgcolor=colour_of(step / 15, WEIGHT_RAMP_DARK)))
        line.append(f" {scale:g}")
    else:
        steps = _SHADES[-2::-1]
        line = Text(", ".join(f"{shade[0]} from {least * scale:g}" for least, shade in steps))
    line.append("   · masked")
    yield line
    if block != (1, 1):
        yield Text(f"a cell is the largest weight of {block[0]} x {block[1]}")
