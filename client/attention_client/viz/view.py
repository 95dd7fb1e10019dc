"""What the viewer draws, as data: plain values that JSON carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attention_client._head_analysis import analysis_of
from attention_client.viz.maps import Tokens, maps_of
from attention_client.viz.quantised import bits, quantised
from attention_client.viz.steps import steps

if TYPE_CHECKING:
    from attention_client._results import AttendResult

__all__ = ["view"]

_CAUSAL = {
    "none": "not causal",
    "upper_left": "causal, the first query at the first key",
    "lower_right": "causal, the last query at the last key",
}
_MEASURES = (
    "pattern",
    "relation",
    "entropy",
    "max_weight",
    "mean_distance",
    "self_share",
    "previous_share",
    "next_share",
    "first_share",
    "local_share",
)


def view(
    result: AttendResult,
    *,
    tokens: Tokens | None = None,
    key_tokens: Tokens | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    batch: int = 0,
    steps_for: Sequence[int] | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """Returns all that the viewer draws of one sequence of a result; arguments as of ``to_html``.

    Raises:
        ValueError: No weights, or not all of them, or an argument that does not fit them.
    """
    maps = maps_of(result, tokens, key_tokens, heads=heads, queries=queries, batch=batch)
    averaged = maps[0].title.startswith("mean")
    indices = () if averaged else tuple(result.selected_heads if heads is None else heads)
    sights: dict[str, int] = {}  # that of one head is most often that of all
    shown: list[dict[str, Any]] = []
    for each in maps:
        sight = bits(~each.masked)
        place = sights.setdefault(sight, len(sights))
        shown.append({"name": each.title, **quantised(each.weights), "sight": place})
    for head, measures in zip(shown, _measures(result, indices, batch), strict=False):
        head["measures"] = measures
    rows, keys = maps[0].rows, maps[0].keys
    return {
        "title": title if title is not None else f"{result.model}, version {result.model_version}",
        "facts": _facts(result, batch),
        "queries": {"indices": list(rows.places), "labels": list(rows.labels)},
        "keys": {"labels": list(keys.labels)},
        "heads": shown,
        "sights": list(sights),
        "steps": steps(result, maps, indices, batch, steps_for),
    }


def _facts(result: AttendResult, batch: int) -> list[str]:
    """Returns what was computed, in words."""
    applied = result.applied
    facts = ["1 head" if applied.num_heads == 1 else f"{applied.num_heads} heads"]
    alike = result._asked is not None and result._asked.self_attention
    facts.append("causal" if alike and applied.causal != "none" else _CAUSAL[applied.causal])
    if applied.window is not None:
        left, right = ("all" if side is None else side for side in applied.window)
        facts.append(f"window of {left} keys before and {right} after")
    if result.weights is not None and len(result.weights) > 1:
        facts.append(f"sequence {batch} of 0 to {len(result.weights) - 1}")
    return facts


def _measures(result: AttendResult, heads: Sequence[int], batch: int) -> list[dict[str, Any]]:
    """Returns what each of these heads does in one sequence; none for a mean over heads."""
    if not heads or result._asked is None:
        return []
    applied = result.applied
    found = analysis_of(
        result.weights,
        result.in_sight,
        result._asked,
        num_heads=applied.num_heads,
        causal=applied.causal,
        window=applied.window,
        sequence=batch,
    )
    by_head = {analysis.head: analysis for analysis in found}
    return [{name: getattr(by_head[head], name) for name in _MEASURES} for head in heads]
