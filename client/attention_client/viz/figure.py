"""Maps of weights as a matplotlib figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from attention_client.viz.colours import (
    FAINT,
    GRID,
    INK,
    MASKED,
    MASKED_HATCH,
    PAPER,
    WEIGHT_RAMP,
    colour_of,
    ink_on,
)
from attention_client.viz.fonts import plain_text
from attention_client.viz.layout import Layout, Ticks, laid_out
from attention_client.viz.maps import WeightMap, pooled

__all__ = ["WEIGHT_COLOURS", "HeatMap", "draw"]

WEIGHT_COLOURS = LinearSegmentedColormap.from_list("weight", WEIGHT_RAMP)

_LEAST_GRID = 0.06  # inches: smaller cells have no lines between them


class HeatMap(Figure):
    """A matplotlib figure that notebooks show by itself, without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Returns what Jupyter shows, and the size at which it does, CSS pixels."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        width, height = self.get_size_inches()
        return file.getvalue(), {"width": round(96 * width), "height": round(96 * height)}


def draw(
    maps: Sequence[WeightMap],
    *,
    title: str = "",
    row_names: Sequence[str] = (),
    across: int | None = None,
    vmax: float = 1.0,
    values: bool | None = None,
    width: float = 10.0,
) -> HeatMap:
    """Returns a figure of maps with the same sides, on one scale of colours.

    Args:
        maps: From left to right and down.
        title: Above all of them.
        row_names: A name before each row of maps.
        across: Maps beside each other; as their sides suggest where absent.
        vmax: Weight of the darkest colour.
        values: Whether weights are written in the cells; absent, where one map has room.
        width: Of the figure at most, inches.
    """
    first = maps[0]
    layout = laid_out(
        first,
        len(maps),
        across=across,
        width=width,
        title=bool(title),
        row_names=bool(row_names),
        values=values,
    )
    figure = HeatMap(figsize=layout.figure, dpi=layout.dots, facecolor=PAPER)
    figure.set_layout_engine("none")
    for number, each in enumerate(maps):
        row, column = divmod(number, layout.columns)
        axis = figure.add_axes(_box(layout, row, column))
        _draw_map(axis, each, layout, vmax)
        lowest = number + layout.columns >= len(maps)
        _label(axis, each, layout, is_left=column == 0, is_lowest=lowest)
        if row_names and column == 0:
            _name(figure, layout, row, row_names[row])
    if title:
        x = (layout.left + _across_all(layout) / 2) / layout.figure[0]
        y = 1 - 0.12 / layout.figure[1]
        figure.text(x, y, title, ha="center", va="top", color=INK, **plain_text(11))
    most = max(float(each.weights.max(initial=0)) for each in maps)
    _draw_scale(figure, layout, vmax, most)
    return figure


def _box(layout: Layout, row: int, column: int) -> tuple[float, float, float, float]:
    """Returns a map's left, bottom, width and height, as shares of the figure."""
    width, height = layout.figure
    left = layout.left + layout.pitch[0] * column
    bottom = height - layout.top - layout.pitch[1] * row - layout.map[1]
    return left / width, bottom / height, layout.map[0] / width, layout.map[1] / height


def _across_all(layout: Layout) -> float:
    return layout.pitch[0] * (layout.columns - 1) + layout.map[0]


def _draw_map(axis: Axes, each: WeightMap, layout: Layout, vmax: float) -> None:
    weights, masked = each.weights, each.masked
    if layout.block != (1, 1):
        weights, masked = pooled(weights, masked, *layout.block)
    rows, keys = each.weights.shape
    axis.imshow(
        np.ma.masked_where(masked, weights),
        cmap=WEIGHT_COLOURS,
        norm=Normalize(0, vmax),
        interpolation="nearest",
        aspect="auto",
        extent=(-0.5, keys - 0.5, rows - 0.5, -0.5),
    )
    # What is masked is transparent, so the ground shows: one striped patch under everything.
    axis.patch.set(facecolor=MASKED, hatch="////", edgecolor=MASKED_HATCH, linewidth=0)
    axis.spines[:].set(color=FAINT, linewidth=0.6)
    if min(layout.cell) >= _LEAST_GRID:
        axis.set_xticks(np.arange(1, keys) - 0.5, minor=True)
        axis.set_yticks(np.arange(1, rows) - 0.5, minor=True)
        axis.grid(which="minor", color=GRID, linewidth=0.5)
        axis.spines[:].set_color(GRID)
    axis.tick_params(which="minor", length=0)
    if layout.value_size:
        _write_values(axis, each, layout.value_size, vmax)


def _write_values(axis: Axes, each: WeightMap, size: float, vmax: float) -> None:
    text = plain_text(size, ha="center", va="center_baseline")
    for row, key in np.argwhere(~each.masked):
        weight = float(each.weights[row, key])
        ink = ink_on(colour_of(weight / vmax))
        axis.text(float(key), float(row), f"{weight:.2f}", color=ink, **text)


def _label(axis: Axes, each: WeightMap, layout: Layout, *, is_left: bool, is_lowest: bool) -> None:
    axis.set_title(each.title, pad=5, color=INK, **plain_text(9.5))
    row, key = layout.row_ticks, layout.key_ticks
    axis.set_yticks(row.places, _shown(row, layout.row_labels_everywhere or is_left), **_text(row))
    axis.set_xticks(
        key.places,
        _shown(key, layout.key_labels_everywhere or is_lowest),
        rotation=90 if key.upright else 0,
        **_text(key),
    )
    for side, ticks in ((axis.xaxis, key), (axis.yaxis, row)):
        length = 0 if ticks.all else 2.5
        side.set_tick_params(which="major", length=length, width=0.6, color=FAINT, pad=3)
    if is_left and each.rows.name:
        axis.set_ylabel(each.rows.name, color=INK, labelpad=3, **plain_text(9))
    if is_lowest:
        axis.set_xlabel(each.keys.name, color=INK, labelpad=3, **plain_text(9))


def _shown(ticks: Ticks, here: bool) -> Sequence[str]:
    return ticks.labels if here else [""] * len(ticks.labels)


def _text(ticks: Ticks) -> dict[str, Any]:
    return plain_text(ticks.size, color=INK)


def _name(figure: Figure, layout: Layout, row: int, name: str) -> None:
    _, bottom, _, height = _box(layout, row, 0)
    x = 0.2 / layout.figure[0]
    text = plain_text(11, rotation=90, ha="center", va="center", color=INK)
    figure.text(x, bottom + height / 2, name, **text)


def _draw_scale(figure: Figure, layout: Layout, vmax: float, most: float) -> None:
    width, height = layout.figure
    tall = layout.pitch[1] * (layout.rows - 1) + layout.map[1]
    bar = min(max(1.05, min(tall, max(0.6 * tall, layout.map[1]), 3.2)), height - 0.3)
    left = layout.left + _across_all(layout) + 0.18
    bottom = height - layout.top - tall / 2 - bar / 2
    scale = figure.colorbar(
        ScalarMappable(Normalize(0, vmax), WEIGHT_COLOURS),
        cax=figure.add_axes((left / width, bottom / height, 0.12 / width, bar / height)),
        extend="max" if most > vmax else "neither",
    )
    scale.set_label("attention weight", color=INK, **plain_text(8.5))
    scale.ax.tick_params(color=FAINT, length=2.5, width=0.6)
    ends = scale.get_ticks().tolist()
    scale.set_ticks(ends, labels=[f"{end:.6g}" for end in ends], **plain_text(7.5, color=INK))
    scale.outline.set(edgecolor=FAINT, linewidth=0.6)
