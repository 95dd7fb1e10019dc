"""Bars and heat strips for the terminal, readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.style import Style
from rich.table import Table
from rich.text import Text

from attention_client.viz.colours import WEIGHT_RAMP_DARK, colour_of, ink_on

__all__ = ["COLUMN_WIDTH", "bar_table", "heat_table", "score_table"]

_MASKED_BAR = Text(" " * 10 + "·", "dim")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_BAR_WIDTH = 6  # terminal cells
COLUMN_WIDTH = _BAR_WIDTH + 8
"""Of a column of bars with its number, and the space to the next."""
_POSITIVE, _NEGATIVE = Style(color="#f28e2b"), Style(color="#5b8def")


def bar_table(
    tokens: Sequence[str],
    columns: Mapping[str, NDArray[np.floating[Any]]],  # [tokens] each, 0 .. 1
    masked: NDArray[np.bool_] | None = None,  # [columns, tokens]
) -> Table:
    """Returns a row a token with one weight a column, and each column's sum below.

    What is masked is drawn as a dot.
    """
    table = _table(columns)
    hidden = np.zeros((len(columns), len(tokens)), np.bool_) if masked is None else masked
    for i, token in enumerate(tokens):
        cells = zip(columns.values(), hidden[:, i], strict=True)
        bars = (_MASKED_BAR if is_hidden else _bar(float(column[i])) for column, is_hidden in cells)
        table.add_row(Text(token), *bars)
    table.add_section()
    sums = (float(column.sum(dtype=np.float64)) for column in columns.values())
    table.add_row("Σ", *(Text(f"{total:.6f}", "bold green") for total in sums))
    return table


def score_table(
    tokens: Sequence[str],
    columns: Mapping[str, NDArray[np.floating[Any]]],  # [tokens] each, any sign
) -> Table:
    """Returns a row a token with one score a column; colour tells the sign, length the size."""
    largest = max(float(np.abs(column).max()) for column in columns.values())
    table = _table(columns)
    for i, token in enumerate(tokens):
        scores = [float(column[i]) for column in columns.values()]
        table.add_row(Text(token), *(_score_bar(score, largest) for score in scores))
    return table


def heat_table(
    tokens: Sequence[str],
    rows: Sequence[tuple[str, NDArray[np.floating[Any]], NDArray[np.bool_]]],
) -> Table:
    """Returns a row a label with its weights over the tokens in per cent.

    Each row is a label, weights [tokens] and visible bool [tokens]; what a row may not see is
    drawn as a dot, but only where its weight is exactly 0. A row with an empty label is a rule.
    """
    table = Table(box=None, padding=0, collapse_padding=True, pad_edge=False)
    table.add_column("", no_wrap=True)
    for token in tokens:
        table.add_column(Text(f" {token} ", "bold"), justify="center", no_wrap=True)
    for label, weights, visible in rows:
        if not label:
            table.add_row()
            continue
        cells = zip(weights.tolist(), visible.tolist(), strict=True)
        table.add_row(Text(f"{label}  "), *(_heat(weight, seen) for weight, seen in cells))
    return table


def _table(columns: Mapping[str, NDArray[np.floating[Any]]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", style="bold", no_wrap=True)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _bar(weight: float) -> Text:
    bar = _blocks(weight)
    return Text.assemble((bar, Style(color=_ramp(0.35 + 0.6 * weight))), f" {weight:.3f}")


def _score_bar(score: float, largest: float) -> Text:
    bar = _blocks(abs(score) / largest)
    return Text.assemble((bar, _POSITIVE if score > 0 else _NEGATIVE), f"{score:6.2f}")


def _blocks(share: float) -> str:
    eighths = round(share * _BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR_WIDTH)


def _heat(weight: float, seen: bool) -> Text:
    if not seen and weight == 0.0:
        return Text("  ·  ", "dim")
    ground = _ramp(weight)
    return Text(f"{100 * weight:4.0f} ", Style(color=ink_on(ground), bgcolor=ground))


def _ramp(share: float) -> str:
    return colour_of(share, WEIGHT_RAMP_DARK)
