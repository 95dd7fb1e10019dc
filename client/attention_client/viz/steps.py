"""The three steps of attention for chosen queries: scores, softmax, weighted values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attention_client.viz.maps import WeightMap
from attention_client.viz.quantised import floats

if TYPE_CHECKING:
    from attention_client._results import AttendResult

__all__ = ["steps", "weighted_values"]

Floats = NDArray[np.floating[Any]]

_MOST_NUMBERS = 200_000  # of the steps of all queries, about 1 MB; above they must be chosen


def steps(
    result: AttendResult,
    maps: Sequence[WeightMap],
    heads: Sequence[int],
    batch: int,
    queries: Sequence[int] | None,
) -> list[dict[str, Any]]:
    """Returns the steps of these queries, those parts of them that the result has.

    None where it has neither scores nor values, or a mean over heads.

    Args:
        result: The answer.
        maps: What is shown of its weights, one of each head.
        heads: Index of each head; none for a mean.
        batch: Which sequence.
        queries: By index, -1 is the last; all where absent, or the last alone where all are many.

    Raises:
        ValueError: A query that is not shown.
    """
    shown = maps[0].rows.places
    if queries is None:
        rows = list(range(len(shown)))
        if 4 * len(maps) * maps[0].weights.size > _MOST_NUMBERS:
            rows = rows[-1:]
    else:
        rows = [_row(shown, query) for query in queries]
    if not heads or (result.scores is None and result.value_heads is None):
        return []
    return [
        {
            "row": row,
            "heads": [
                _of_head(result, head, batch, shown[row], each.weights[row])
                for head, each in zip(heads, maps, strict=True)
            ],
        }
        for row in dict.fromkeys(rows)
    ]


def _row(shown: Sequence[int], query: int) -> int:
    index = query if query >= 0 else max(shown) + 1 + query
    if index not in shown:
        raise ValueError(f"steps_for: query {query} is none of those that are shown")
    return shown.index(index)


def _of_head(
    result: AttendResult, head: int, batch: int, query: int, weights: Floats
) -> dict[str, Any]:
    keys = len(weights)
    found: dict[str, Any] = {"weights": floats(weights)}
    scores = _scores(result, head, batch, query)
    if scores is not None:
        found["scores"] = floats(scores[:keys])
    if result.value_heads is not None:
        group = result.applied.num_heads // result.value_heads.shape[1]
        found |= weighted_values(weights, result.value_heads[batch, head // group, :keys])
    return found


def _scores(result: AttendResult, head: int, batch: int, query: int) -> Floats | None:
    """Returns the scores of one row, [kv_len]; None where they were not asked for."""
    if result.scores is None or result._asked is None:
        return None
    heads, queries = result._asked.score_rows(result.applied.num_heads)
    if head not in heads or query not in queries:
        return None
    row: Floats = result.scores[batch, heads.index(head), queries.index(query)]
    return row


def weighted_values(weights: Floats, values: Floats) -> dict[str, Any]:
    """Returns what each key adds to a head's output.

    Args:
        weights: Of one query in one head, [keys].
        values: Of the same head, [keys, value_head_dim].

    Returns:
        ``lengths``, of weight * value (Kobayashi et al. 2020, "Attention is Not Only a Weight");
        ``shares``, the part of each along the output, which add up to 1 and are negative for what
        pulls the other way, zeros where the output is zero; both [keys] as text. ``output``, the
        length of the output, the sum of weight * value.
    """
    weighted = weights.astype(np.float64)[:, None] * values.astype(np.float64)
    output = weighted.sum(axis=0)
    square = float(output @ output)
    shares = weighted @ output / square if square > 0 else np.zeros(len(weights))
    return {
        "lengths": floats(np.linalg.norm(weighted, axis=1)),
        "shares": floats(shares),
        "output": float(np.sqrt(square)),
    }
