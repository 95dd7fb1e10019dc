"""What one result looks like in the terminal: bars of some queries, and a map of each head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np
from rich.console import Console, RenderableType
from rich.text import Text

from attention_client.viz.labels import widest
from attention_client.viz.maps import Bools, Floats, Side, WeightMap, by_head
from attention_client.viz.small_maps import small_maps
from attention_client.viz.terminal import COLUMN_WIDTH, bar_table

__all__ = ["show", "shown_lines"]

_MOST_KEYS = 24  # a table of bars
_KEPT_KEYS = 16  # of more keys


def shown_lines(maps: Sequence[WeightMap], rows: Sequence[int], file: TextIO) -> list[str]:
    """Returns the lines that ``show`` prints; with colours where the file is such a terminal."""
    console = Console(file=file, highlight=False)
    with console.capture() as capture:
        show(console, maps, rows)
    return [line.rstrip() for line in capture.get().splitlines()]


def show(console: Console, maps: Sequence[WeightMap], rows: Sequence[int]) -> None:
    """Prints bars of these rows of the maps, then all maps in small; one row, as a row a head."""
    width = min(console.width, 100)
    maps = list({each.title: each for each in maps}.values())  # a head asked for twice, once
    for row in rows:
        for renderable in _bars(maps, row, width):
            console.print(renderable)
    if len(maps[0].rows) == 1:
        maps = [by_head(maps)]
    for line in small_maps(maps, width=width, colour=console.color_system is not None):
        console.print(line, no_wrap=True, crop=False, overflow="ignore")


def _bars(maps: Sequence[WeightMap], row: int, width: int) -> Iterator[RenderableType]:
    """Yields a title, and tables of as many heads as have room beside each other."""
    first = maps[0]
    weights = np.stack([each.weights[row] for each in maps])  # [heads, keys]
    masked = np.stack([each.masked[row] for each in maps])
    names = _numbered(first.keys)
    yield Text.assemble("query ", (_numbered(first.rows)[row].strip(), "bold"), " attends to")
    if len(names) > _MOST_KEYS:
        weights, masked, names = _largest(weights, masked, names)
    across = max(1, (width - widest(names) - 2) // COLUMN_WIDTH)
    for start in range(0, len(maps), across):
        part = slice(start, start + across)
        titles = [each.title for each in maps[part]]
        yield Text()
        yield bar_table(names, dict(zip(titles, weights[part], strict=True)), masked[part])
    yield Text()


def _numbered(side: Side) -> list[str]:
    """Returns labels with their numbers before them, but for labels that are numbers."""
    most = len(str(max(side.places)))
    return [
        name if name == str(place) else f"{place:{most}} {name}"
        for place, name in zip(side.places, side.labels, strict=True)
    ]


def _largest(
    weights: Floats, masked: Bools, names: Sequence[str]
) -> tuple[Floats, Bools, list[str]]:
    """Returns the keys with the largest weight in any head, in order, and the sum of all others."""
    most = weights.max(axis=0)
    kept = np.sort(np.argsort(-most, kind="stable")[:_KEPT_KEYS])
    kept = kept[most[kept] > 0]
    others = np.delete(weights, kept, axis=1)  # [heads, keys]
    rest = others.sum(axis=1, dtype=np.float64, keepdims=True).astype(weights.dtype)
    shown = np.concatenate([weights[:, kept], rest], axis=1)
    hidden = np.concatenate([masked[:, kept], np.zeros(rest.shape, np.bool_)], axis=1)
    return shown, hidden, [*(names[key] for key in kept), f"{others.shape[1]} others"]
