"""Where maps stand in a figure, how large their cells are, and which labels have room."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attention_client.viz.labels import step_of, widest
from attention_client.viz.maps import Side, WeightMap

__all__ = ["Layout", "Ticks", "laid_out"]

_DOTS, _MOST_DOTS = 200, 300  # an inch; the second where cells would be finer than a dot
_POINTS = 72  # an inch

_LARGEST_CELL, _LARGEST_ALONE = 0.3, 0.46  # inches; alone, a cell has its value written in it
_NARROW, _NARROW_MAP = 0.19, 2.6  # inches: few rows, or few keys, are drawn as wide as this
_LARGEST_LABEL, _LEAST_LABEL = 10.0, 5.5  # points
_COLUMN = 0.55  # width of half a wide character, by its size
_TALLEST = 0.9  # of the width
_GAP = 0.14  # inches between a map's labels and the next map
_TITLE, _MAP_TITLE, _AXIS_NAME = 0.3, 0.27, 0.2  # inches
_SCALE = 0.85  # inches for the colour bar with its numbers
_EDGE = 0.1
_WORD = 4  # columns: longer labels stand at the figure's edges only
_MOST_TICKS = 11  # where not every label has room


@dataclass(frozen=True)
class Ticks:
    """The labels along a side that have room."""

    places: tuple[int, ...]
    labels: tuple[str, ...]
    size: float  # points
    upright: bool
    """Whether labels are turned by 90 degrees."""
    extent: float
    """How far they reach from the map, inches."""

    @property
    def all(self) -> bool:
        """Whether every row or column has its label."""
        return self.places == tuple(range(len(self.places)))


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    rows: int
    columns: int
    cell: tuple[float, float]
    """Width and height."""
    map: tuple[float, float]
    figure: tuple[float, float]
    left: float
    """Of the first map."""
    top: float
    """Of the first map, from the top."""
    pitch: tuple[float, float]
    """From one map to the next."""
    row_ticks: Ticks
    key_ticks: Ticks
    row_labels_everywhere: bool
    key_labels_everywhere: bool
    value_size: float
    """Of values written in the cells, points; 0 for none."""
    block: tuple[int, int]
    """Rows and keys drawn as one dot, their largest weight."""
    dots: float
    """An inch: a cell is a whole number of them, or a block of cells is one."""


def laid_out(
    first: WeightMap,
    count: int,
    *,
    across: int | None = None,
    width: float,
    title: bool = True,
    row_names: bool = False,
    values: bool | None = None,
) -> Layout:
    """Returns the layout with the largest cells for so many maps like the first.

    Args:
        first: One of the maps; all have its sides.
        count: How many maps.
        across: Maps beside each other; what makes the cells largest where absent.
        width: Of the figure at most, inches.
        title: Whether one stands above all maps.
        row_names: Whether a name stands before each row of maps.
        values: Whether values are written in the cells; where they fit and one map stands alone
            where absent.
    """
    frame = _Frame(
        first.rows,
        first.keys,
        count=count,
        width=width,
        left=_EDGE + _AXIS_NAME * bool(first.rows.name) + (_AXIS_NAME + 0.1) * row_names,
        top=_EDGE + _TITLE * title + _MAP_TITLE,
        values=count == 1 if values is None else values,
    )
    tried = map(frame.layout, [across] if across else range(1, count + 1))
    # Of cells that are equal, to 3 digits, those whose figure is the smallest.
    return max(
        tried, key=lambda layout: (float(f"{_area(layout.cell):.3g}"), -_area(layout.figure))
    )


def _area(size: tuple[float, float]) -> float:
    return size[0] * size[1]


@dataclass(frozen=True)
class _Frame:
    """What is known before maps are put beside each other."""

    rows: Side
    keys: Side
    count: int
    width: float
    left: float  # before the labels
    top: float
    values: bool

    def layout(self, across: int) -> Layout:
        """Returns the layout with so many maps beside each other."""
        down = math.ceil(self.count / across)
        wide, tall = self._cell(across, down)
        wide, tall, block, dots = _snapped(wide, tall)
        row_ticks, key_ticks = _ticks(self.rows, tall), _ticks(self.keys, wide, across=True)
        size = (wide * len(self.keys), tall * len(self.rows))
        pitch = (
            size[0] + self._between_columns(row_ticks),
            size[1] + self._between_rows(key_ticks),
        )
        left = self.left + row_ticks.extent
        below = key_ticks.extent + _AXIS_NAME + _EDGE
        return Layout(
            rows=down,
            columns=across,
            cell=(wide, tall),
            map=size,
            figure=(
                left + pitch[0] * (across - 1) + size[0] + _SCALE,
                self.top + pitch[1] * (down - 1) + size[1] + below,
            ),
            left=left,
            top=self.top,
            pitch=pitch,
            row_ticks=row_ticks,
            key_ticks=key_ticks,
            row_labels_everywhere=_is_short(self.rows),
            key_labels_everywhere=_is_short(self.keys),
            value_size=_value_size(wide, tall) if self.values else 0.0,
            block=block,
            dots=dots,
        )

    def _cell(self, across: int, down: int) -> tuple[float, float]:
        """Returns width and height of a cell, inches: a square, but for maps with a long side."""
        rows, keys = len(self.rows), len(self.keys)
        largest = _LARGEST_ALONE if self.values else _LARGEST_CELL
        wide = tall = largest
        for _ in range(4):  # the room for cells depends on labels, and these on cells
            row_ticks, key_ticks = _ticks(self.rows, tall), _ticks(self.keys, wide, across=True)
            besides = self.left + row_ticks.extent + _SCALE
            besides += self._between_columns(row_ticks) * (across - 1)
            most_wide = min(largest, max(self.width - besides, 0.5) / (across * keys))
            above = self.top + key_ticks.extent + _AXIS_NAME + _EDGE
            above += self._between_rows(key_ticks) * (down - 1)
            most_tall = max(_TALLEST * self.width - above, 0.5) / (down * rows)
            wide = tall = min(most_wide, most_tall, largest)
            if rows * 3 <= keys:
                tall = max(tall, min(most_tall, _NARROW, _NARROW_MAP / rows))
            elif keys * 3 <= rows:
                wide = max(wide, min(most_wide, _NARROW, _NARROW_MAP / keys))
        return wide, tall

    def _between_columns(self, row_ticks: Ticks) -> float:
        return _GAP + (row_ticks.extent if _is_short(self.rows) else 0.0)

    def _between_rows(self, key_ticks: Ticks) -> float:
        return _MAP_TITLE + (key_ticks.extent + 0.04 if _is_short(self.keys) else 0.1)


def _is_short(side: Side) -> bool:
    """Returns whether labels are short enough to stand at every map."""
    return widest(side.labels) <= _WORD


def _snapped(wide: float, tall: float) -> tuple[float, float, tuple[int, int], float]:
    """Returns a cell's sides and the block of cells that share a dot, and the dots of an inch.

    Each side of a cell is a whole number of dots then, or of a block one: none is left out, and no
    two look as if they differed.
    """
    least = min(wide, tall)
    dots = max(math.ceil(least * _DOTS), 1) / least
    if least * _MOST_DOTS < 1:
        dots = 1 / (least * math.ceil(1 / (least * _MOST_DOTS)))
    sides, block = zip(*(_side_in(side, dots) for side in (wide, tall)), strict=True)
    return sides[0], sides[1], (block[1], block[0]), dots


def _side_in(side: float, dots: float) -> tuple[float, int]:
    """Returns a side that is a whole number of dots, or whose block is one, and that block."""
    if side * dots >= 1 - 1e-9:
        return math.floor(side * dots + 1e-9) / dots, 1
    block = math.ceil(1 / (side * dots) - 1e-9)
    return 1 / dots / block, block


def _value_size(wide: float, tall: float) -> float:
    """Returns the size of "0.00" in a cell, points; 0 where it has no room."""
    size = min(9.0, 0.39 * wide * _POINTS, 0.7 * tall * _POINTS)
    return size if size >= _LEAST_LABEL else 0.0


def _ticks(side: Side, cell: float, *, across: bool = False) -> Ticks:
    """Returns every label where all have room, else numbers at a step."""
    points = cell * _POINTS
    size = min(_LARGEST_LABEL, 0.72 * points)
    longest = widest(side.labels) * _COLUMN  # by the size
    if size >= _LEAST_LABEL:
        upright = across and longest * size > 0.95 * points
        reach = longest if upright or not across else 1.3
        return Ticks(
            tuple(range(len(side))),
            side.labels,
            size,
            upright,
            reach * size / _POINTS + 0.07,
        )
    size = 8.0
    numbers = [str(place) for place in side.places]
    digits = max(map(len, numbers), default=1)
    least = (digits * 0.65 * size + 6) if across else 1.5 * size  # points from one to the next
    step = step_of(max(least / points, len(side) / _MOST_TICKS))
    places = tuple(range(0, len(side), step))
    reach = 1.3 if across else digits * 0.62
    shown = tuple(numbers[place] for place in places)
    return Ticks(places, shown, size, False, reach * size / _POINTS + 0.07)
