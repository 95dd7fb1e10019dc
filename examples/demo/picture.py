"""Heat maps of all heads as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray
from pylopdf_fonts_zh_cn import sans_path

__all__ = ["draw_heads"]

# White is weight 0; what may not be seen is hatched grey, which no weight is.
WEIGHT_COLOURS = LinearSegmentedColormap.from_list(
    "weight", ["#ffffff", "#d6e6f4", "#7fb8da", "#2f7ebc", "#123f77", "#0b1f44"]
)
INK, FAINT, MASKED = "#22303c", "#c3cbd2", "#eceff1"


def draw_heads(
    path: Path,
    tokens: Sequence[str],
    rows: Mapping[str, tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]],
) -> None:
    """Writes a PNG with a row of heat maps a name: each head, then the mean of the heads.

    Each row is weights float32 [heads + 1, query_len, kv_len], the mean last, and visible bool
    [query_len, kv_len]. One colour scale holds for the whole picture, so that every two cells
    compare.
    """
    # matplotlib's own font has no Chinese characters.
    font = FontProperties(fname=str(sans_path()))
    maps = len(next(iter(rows.values()))[0])
    figure = Figure(figsize=(3.1 * maps + 1.2, 3.3 * len(rows) + 0.3))
    # By hand, as matplotlib's own layouts take longer than drawing.
    figure.subplots_adjust(left=0.06, right=0.93, top=0.95, bottom=0.08, wspace=0.12, hspace=0.2)
    axes = figure.subplots(len(rows), maps, squeeze=False)
    titles = [*(f"head {head}" for head in range(maps - 1)), "mean of the heads"]
    for line, (name, (weights, visible)) in zip(axes, rows.items(), strict=True):
        for axis, title, matrix in zip(line, titles, weights, strict=True):
            _draw(axis, matrix, visible, tokens, font)
            axis.set_title(title, fontproperties=font, fontsize=13, color=INK)
        line[0].set_ylabel(f"{name}\n\nquery", fontproperties=font, fontsize=13, color=INK)
    for axis in axes[-1]:
        axis.set_xlabel("key", fontproperties=font, fontsize=12, color=INK)
    scale = figure.colorbar(
        ScalarMappable(Normalize(0, 1), WEIGHT_COLOURS), figure.add_axes((0.945, 0.2, 0.01, 0.6))
    )
    scale.set_label("attention weight", fontproperties=font, fontsize=12, color=INK)
    scale.outline.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="white")


def _draw(
    axis: Axes,
    weights: NDArray[np.floating[Any]],  # [query_len, kv_len]
    visible: NDArray[np.bool_],  # [query_len, kv_len]
    tokens: Sequence[str],
    font: FontProperties,
) -> None:
    axis.imshow(np.where(visible, weights, np.nan), cmap=WEIGHT_COLOURS, vmin=0, vmax=1)
    # NaN is transparent, so the ground shows: one hatched patch under everything.
    axis.patch.set(facecolor=MASKED, hatch="////", edgecolor=FAINT)
    places = range(len(tokens))
    axis.set_xticks(places, tokens, fontproperties=font, fontsize=12, color=INK)
    axis.set_yticks(places, tokens, fontproperties=font, fontsize=12, color=INK)
    axis.set_xticks(np.arange(len(tokens) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(tokens) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#e3e8ec", linewidth=0.6)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
