"""The picture: how each bar was reached or missed, beside the rival."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from bench.verdict import Verdict

__all__ = ["draw"]

INK, FAINT, GRID = "#25303b", "#9aa5b1", "#e3e8ec"
BLUE, ORANGE = "#2f7ebc", "#d55e00"  # told apart by every kind of eye
_ROW, _MARGIN = 0.34, 0.95  # inches
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 100)


def draw(path: Path, verdicts: Sequence[Verdict], below: str) -> None:
    """Writes a PNG of all ratios that are targets; ``below`` says where they were measured."""
    ratios = [each for each in verdicts if each.bar.target and each.bar.theirs is not None]
    panels = [
        ("times, bytes: less is better", [v for v in ratios if v.bar.at_most is not None]),
        ("answers a second: more is better", [v for v in ratios if v.bar.at_least is not None]),
    ]
    panels = [(title, rows) for title, rows in panels if rows]
    if not panels:
        return
    heights = [len(rows) * _ROW for _, rows in panels]
    height = sum(heights) + _MARGIN * len(panels) + 0.3
    figure = Figure(figsize=(10.4, height))
    top = height - 0.15
    for (title, rows), tall in zip(panels, heights, strict=True):
        top -= 0.45  # the title
        axis = figure.add_axes((0.46, (top - tall) / height, 0.42, tall / height))
        _draw_panel(axis, title, rows)
        top -= tall + _MARGIN - 0.45
    figure.text(0.02, 0.1 / height, below, fontsize=8, color=FAINT)
    figure.savefig(path, dpi=110, facecolor="white")


def _draw_panel(axis: Axes, title: str, rows: Sequence[Verdict]) -> None:
    for place, each in enumerate(rows):
        _draw_row(axis, place, each)
    ends = [end for each in rows for end in (each.interval.low, each.interval.high, _limit(each))]
    low, high = min([0.8, *ends]) / 1.25, max([1.25, *ends]) * 1.25
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if low <= tick <= high]))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_yticks(range(len(rows)), [f"{each.bar.target}.  {each.bar.says}" for each in rows])
    axis.axvline(1, color=FAINT, linewidth=1, zorder=0)
    axis.grid(axis="x", color=GRID, linewidth=0.8, zorder=-1)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", length=0, labelcolor=INK, labelsize=9)
    axis.spines[:].set_visible(False)
    axis.set_title(f"ours / the rival's, {title}", loc="left", fontsize=10, color=INK, pad=8)


def _draw_row(axis: Axes, place: int, each: Verdict) -> None:
    colour = BLUE if each.met else ORANGE
    axis.plot(
        [each.interval.low, each.interval.high],
        [place, place],
        color=colour,
        linewidth=5,
        alpha=0.3,
        solid_capstyle="butt",
    )
    axis.plot([each.value], [place], "o" if each.met else "X", color=colour, markersize=6.5)
    limit = _limit(each)
    axis.plot([limit, limit], [place - 0.36, place + 0.36], color=INK, linewidth=2)
    axis.annotate(
        f"{each.value:.3g} x  {'met' if each.met else 'missed'}",
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=9,
        color=colour,
    )


def _limit(each: Verdict) -> float:
    limit = each.bar.at_most if each.bar.at_most is not None else each.bar.at_least
    assert limit is not None, "a bar of the picture has a limit"
    return limit
