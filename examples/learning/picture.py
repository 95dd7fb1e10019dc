"""The pictures: heat maps before and after training side by side, and the way between them.

Blue and orange are told apart by every kind of eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from pylopdf_fonts_zh_cn import sans_path

from attention_client.viz.colours import FAINT, GRID, INK, MASKED, MASKED_HATCH
from attention_client.viz.figure import WEIGHT_COLOURS

from .matrices import Matrices
from .reading import Reading
from .texts import CHARACTERS
from .training import Moment

__all__ = ["draw_curves", "draw_heat_maps", "draw_matrices"]

BLUE, ORANGE = "#2f7ebc", "#d55e00"

Cells = Sequence[tuple[int, int]]


def draw_heat_maps(path: Path, text: str, before: Reading, after: Reading) -> None:
    """Writes a PNG of both layers' weights over one text, before training and after it.

    Outlined are the places where each layer's head should look: the character before, and the
    place that holds the answer.
    """
    # matplotlib's own font has no Chinese characters.
    font = FontProperties(fname=str(sans_path()))
    figure = Figure(figsize=(11.2, 11))
    figure.subplots_adjust(left=0.06, right=0.89, top=0.925, bottom=0.055, wspace=0.1, hspace=0.15)
    axes = figure.subplots(2, 2)
    rows = (
        ("first layer", before.first, after.first, [(i, i - 1) for i in range(1, len(text))]),
        ("second layer", before.second, after.second, [pair[1:] for pair in after.texts.pairs()]),
    )
    titles = ("before training", "after training")
    for line, (name, *weights, cells) in zip(axes, rows, strict=True):
        for axis, title, matrix in zip(line, titles, weights, strict=True):
            _draw_weights(axis, matrix[0, 0], cells, text, font)
            axis.set_title(f"{name}, {title}", fontproperties=font, fontsize=14, color=INK, pad=9)
        line[0].set_ylabel("query", fontproperties=font, fontsize=12, color=INK)
    for axis in axes[-1]:
        axis.set_xlabel("key", fontproperties=font, fontsize=12, color=INK)
    figure.legend(
        handles=[Rectangle((0, 0), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.6)],
        labels=["where the head should look: at the character before, at the answer"],
        loc="upper center",
        bbox_to_anchor=(0.475, 1.0),
        frameon=False,
        prop=font,
        labelcolor=INK,
    )
    scale = figure.colorbar(
        ScalarMappable(Normalize(0, 1), WEIGHT_COLOURS), figure.add_axes((0.905, 0.25, 0.014, 0.5))
    )
    scale.set_label("attention weight", fontproperties=font, fontsize=12, color=INK)
    scale.ax.tick_params(color=INK, labelcolor=INK)
    scale.outline.set_visible(False)
    figure.savefig(path, dpi=110, facecolor="white")


def _draw_weights(
    axis: Axes,
    weights: NDArray[np.floating[Any]],  # [length, length]
    outlined: Cells,
    text: str,
    font: FontProperties,
) -> None:
    already_read = np.tril(np.ones(weights.shape, np.bool_))
    axis.imshow(np.where(already_read, weights, np.nan), cmap=WEIGHT_COLOURS, vmin=0, vmax=1)
    # NaN is transparent, so the ground shows: what may not be seen is hatched.
    axis.patch.set(facecolor=MASKED, hatch="////", edgecolor=MASKED_HATCH)
    axis.set_xticks(range(len(text)), list(text), fontproperties=font, fontsize=12, color=INK)
    axis.set_yticks(range(len(text)), list(text), fontproperties=font, fontsize=12, color=INK)
    axis.set_xticks(np.arange(len(text) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(text) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color=GRID, linewidth=0.6)
    for query, key in outlined:
        axis.add_patch(
            Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.6)
        )
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)


def draw_curves(path: Path, moments: Sequence[Moment], chance: float) -> None:
    """Writes a PNG of the loss, and of where both heads look, over the steps of training.

    ``chance`` is the loss of one who knows nothing, nats.
    """
    font = FontProperties(fname=str(sans_path()))
    figure = Figure(figsize=(9, 6.4))
    figure.subplots_adjust(left=0.09, right=0.97, top=0.94, bottom=0.09, hspace=0.28)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [moment.step for moment in moments]

    above.axhline(chance, color=FAINT, linewidth=1.2, linestyle="--")
    above.annotate(
        f"chance: ln 64 = {chance:.2f}",
        (steps[-1], chance),
        xytext=(0, -5),
        textcoords="offset points",
        horizontalalignment="right",
        verticalalignment="top",
        fontproperties=font,
        color=INK,
    )
    above.plot(steps, [moment.loss for moment in moments], color=INK, linewidth=2)
    above.set_ylim(0, 1.08 * chance)
    above.set_title(
        "loss on unseen texts, nats an answer", loc="left", fontproperties=font, color=INK
    )

    second = [moment.recall_share for moment in moments]
    first = [moment.previous_share for moment in moments]
    below.plot(
        steps,
        first,
        BLUE,
        linewidth=2,
        linestyle="--",
        label="first layer: on the character before",
    )
    below.plot(steps, second, ORANGE, linewidth=2, label="second layer: on the answer")
    below.set_ylim(0, 1.02)
    below.set_title("mean attention weight", loc="left", fontproperties=font, color=INK)
    below.legend(loc="lower right", frameon=False, prop=font, labelcolor=INK)
    below.set_xlabel("training step", fontproperties=font, color=INK)
    below.set_xlim(0, steps[-1])
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(FAINT)
        axis.tick_params(color=FAINT, labelcolor=INK)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
    figure.savefig(path, dpi=110, facecolor="white")


def draw_matrices(path: Path, before: Matrices, after: Matrices) -> None:
    """Writes a PNG of what the second layer looks for and answers, before training and after it.

    A row and a column each character. The scale of the colours is that of each picture, as random
    matrices have small products.
    """
    font = FontProperties(fname=str(sans_path()))
    figure = Figure(figsize=(10.6, 10))
    figure.subplots_adjust(left=0.06, right=0.945, top=0.955, bottom=0.06, wspace=0.2, hspace=0.2)
    axes = figure.subplots(2, 2)
    rows = (
        ("looked for", before.looked_for, after.looked_for, "query", "character before the key"),
        ("answered", before.answered, after.answered, "character found", "answer"),
    )
    for line, (name, untrained, trained, down, across) in zip(axes, rows, strict=True):
        for axis, when, matrix in zip(line, ("before", "after"), (untrained, trained), strict=True):
            largest = float(np.abs(matrix).max())
            image = axis.imshow(matrix, cmap="PuOr_r", vmin=-largest, vmax=largest)
            title = f"{name}, {when} training"
            axis.set_title(title, fontproperties=font, fontsize=14, color=INK, pad=9)
            axis.set_xlabel(across, fontproperties=font, fontsize=12, color=INK)
            places = range(0, len(CHARACTERS), 8)
            labels = [CHARACTERS[place] for place in places]
            axis.set_xticks(places, labels, fontproperties=font, fontsize=11, color=INK)
            axis.set_yticks(places, labels, fontproperties=font, fontsize=11, color=INK)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            scale = figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
            scale.ax.tick_params(color=FAINT, labelcolor=INK)
            scale.outline.set_visible(False)
        line[0].set_ylabel(down, fontproperties=font, fontsize=12, color=INK)
    figure.savefig(path, dpi=110, facecolor="white")
