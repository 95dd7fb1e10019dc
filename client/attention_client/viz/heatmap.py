"""A result's weights as a figure: see ``AttendResult.heatmap`` for its arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attention_client.viz.figure import HeatMap, draw
from attention_client.viz.maps import Tokens, by_head, maps_of

if TYPE_CHECKING:
    from attention_client._results import AttendResult

__all__ = ["heatmap"]


def heatmap(
    result: AttendResult,
    tokens: Tokens | None = None,
    key_tokens: Tokens | None = None,
    *,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    batch: int = 0,
    mean: bool = False,
    vmax: float | None = 1.0,
    values: bool | None = None,
    width: float = 10.0,
    title: str | None = None,
) -> HeatMap:
    """Returns heat maps of the weights of one sequence.

    Raises:
        ValueError: No weights, or an argument that does not fit them.
    """
    maps = maps_of(result, tokens, key_tokens, heads=heads, queries=queries, batch=batch, mean=mean)
    if len(maps[0].rows) == 1:
        maps = [by_head(maps)]
    if vmax is None:
        vmax = max(float(each.weights.max(initial=0)) for each in maps) or 1.0
    if not (math.isfinite(vmax) and vmax > 0):
        raise ValueError(f"vmax: must be more than 0, not {vmax}")
    if not (math.isfinite(width) and width >= 3):
        raise ValueError(f"width: must be 3 inches or more, not {width}")
    if title is None:
        title = _title(result, batch)
        if len(maps) == 1:  # one line says it all
            maps, title = [replace(maps[0], title=f"{title}: {maps[0].title}")], ""
    return draw(
        maps,
        title=title,
        vmax=vmax,
        values=values,
        width=width,
    )


def _title(result: AttendResult, batch: int) -> str:
    """Returns what was asked: the model, its version, and which sequence where there are more."""
    assert result.weights is not None
    sequence = f", sequence {batch}" if len(result.weights) > 1 else ""
    return f"{result.model}, version {result.model_version}{sequence}"
