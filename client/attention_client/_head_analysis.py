"""What heads attend to, from the weights of a result: as ``analyze_heads``, without the server."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client._asked import Asked
from attention_client._names import CausalMode
from attention_client._refusal import refusal
from attention_client._relations import PairsByRelation, relations_of
from attention_service.head_analysis import HeadAnalysis, HeadAnalyzer
from attention_service.head_relations import Relations
from attention_service.reasons import Reason

__all__ = ["analysis_of"]


def analysis_of(
    weights: NDArray[np.floating[Any]] | None,
    in_sight: NDArray[np.bool_] | None,
    asked: Asked | None,
    *,
    num_heads: int,
    causal: CausalMode,
    window: tuple[int | None, int | None] | None,
    relations: PairsByRelation | None = None,
    sequence: int | None = None,
) -> tuple[HeadAnalysis, ...]:
    """Returns what each selected head attends to, over the selected queries, each taken once.

    Args:
        weights: As they were returned.
        in_sight: Which keys each row may attend to, shaped as weights.
        asked: What the call said.
        num_heads: Query heads of the layer.
        causal: Causality as computed.
        window: Window as computed; None for no limit.
        relations: Pairs by the name of their relation.
        sequence: The only one to look at; all where absent.

    Raises:
        InvalidRequestError: Weights that are not there or no whole rows of single heads, or
            relations that are none.
    """
    if weights is None or asked is None or asked.weights is None:
        raise _unfit("must be there: attend(..., weights=True) returns them")
    if asked.weights.average_heads:
        raise _unfit("must be of each head by itself: ask for them without average_heads")
    if asked.weights.top_k:
        raise _unfit("must be whole rows: ask for them without top_k")
    queries = np.array(asked.queries)
    pairs = relations_of(
        relations, batch=asked.batch, query_len=asked.query_len, kv_len=asked.kv_len
    )
    chosen, rows = np.unique(queries, return_index=True)
    once = np.zeros(len(queries), np.bool_)
    once[rows] = True
    analyzer = HeadAnalyzer(
        heads=asked.heads(num_heads),
        real_queries=asked.real_rows[:, queries] & once,
        first_keys=asked.first_keys,
        places=asked.places(causal=causal, window=window),
        relations=_of_rows(pairs, chosen, rows),
    )
    if sequence is None:
        analyzer.add(weights, in_sight)
    else:
        one = slice(sequence, sequence + 1)
        seen = None if in_sight is None else in_sight[one]
        analyzer.add(weights[one], seen, sequence=sequence)
    return tuple(analyzer.result())


def _of_rows(relations: Relations, chosen: NDArray[np.int64], rows: NDArray[np.intp]) -> Relations:
    """Returns the pairs whose query was chosen, with its row in the query's place.

    Args:
        relations: Pairs of all queries.
        chosen: The queries, ascending.
        rows: The row of each.
    """
    found = {}
    for name, pairs in relations.items():
        here = pairs[np.isin(pairs[:, 1], chosen)]
        here[:, 1] = rows[np.searchsorted(chosen, here[:, 1])]
        found[name] = here
    return found


def _unfit(description: str) -> Exception:
    return refusal("weights", description, Reason.MISSING_FIELD)
