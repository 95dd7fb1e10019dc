"""Maps of weights: which query of which head gives how much to which key, cut and labelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attention_client.viz.labels import label

if TYPE_CHECKING:
    from attention_client._results import AttendResult

__all__ = ["Side", "Tokens", "WeightMap", "by_head", "maps_of", "pooled"]

Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Tokens: TypeAlias = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Side:
    """What stands along one side of a map."""

    name: str
    """"query", "key" or "head"."""
    labels: tuple[str, ...]
    """One for each row or column."""
    places: tuple[int, ...]
    """Their numbers, shown where there is no room for every label."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class WeightMap:
    """The weights of one head over queries and keys, or of one query over heads and keys."""

    title: str
    weights: Floats  # [rows, keys]
    in_sight: Bools  # [rows, keys]
    rows: Side
    keys: Side

    @property
    def masked(self) -> Bools:
        """Cells that may not be attended to, bool [rows, keys].

        Only where the weight is 0 indeed: one that got past its mask is drawn as what it is.
        """
        masked: Bools = ~self.in_sight & (self.weights == 0)
        return masked


def maps_of(
    result: AttendResult,
    tokens: Tokens | None = None,
    key_tokens: Tokens | None = None,
    *,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    batch: int = 0,
    mean: bool = False,
) -> list[WeightMap]:
    """Returns one map a head of one sequence, without its padding; arguments as of ``heatmap``.

    Raises:
        ValueError: No weights, or not all of them, or an argument that does not fit them.
    """
    weights, in_sight = _cells(result)
    sequences = len(weights)
    if not 0 <= batch < sequences:
        raise ValueError(f"batch: must be {_listed(range(sequences))}, not {batch}")
    asked = result._asked
    query_len = weights.shape[2] if asked is None else asked.query_len
    num_queries = query_len if asked is None else int(asked.real_queries[batch])
    num_keys = weights.shape[3] if asked is None else int(asked.keys[batch])

    asked_queries = result.selected_queries or tuple(range(query_len))
    rows = _rows(asked_queries, queries, num_queries)
    places = tuple(asked_queries[row] for row in rows)
    if not num_keys:
        raise ValueError("batch: all keys of this sequence are padding")
    is_self = query_len == weights.shape[3] if asked is None else asked.self_attention
    if is_self and key_tokens is None:
        key_tokens = tokens
    query_names = _tokens_of("tokens", tokens, batch, sequences, num_queries, query_len)
    key_names = _tokens_of(
        "key_tokens" if key_tokens is not tokens else "tokens",
        *(key_tokens, batch, sequences, num_keys, weights.shape[3]),
    )
    row_side = _side("query", query_names, places)
    key_side = _side("key", key_names, tuple(range(num_keys)))

    indices, titles = _heads(result, heads)
    part = np.ix_(indices, rows, range(num_keys))
    drawn = weights[batch][part].astype(np.float32)  # [heads, rows, keys]
    seen = in_sight[batch][part]
    if mean and len(indices) > 1:
        average = drawn.mean(axis=0, dtype=np.float64, keepdims=True)
        drawn = np.concatenate([drawn, average.astype(np.float32)])
        seen = np.concatenate([seen, seen.any(axis=0, keepdims=True)])
        titles.append("mean")
    return [
        WeightMap(title, weights_of, seen_by, row_side, key_side)
        for title, weights_of, seen_by in zip(titles, drawn, seen, strict=True)
    ]


def by_head(maps: Sequence[WeightMap], row: int = 0) -> WeightMap:
    """Returns one query's weights as a map with a row a head."""
    first = maps[0]
    query = first.rows.labels[row]
    place = first.rows.places[row]
    return WeightMap(
        f"query {place}" if query == str(place) else f"query {place}, {query}",
        np.stack([each.weights[row] for each in maps]),
        np.stack([each.in_sight[row] for each in maps]),
        Side("", tuple(each.title for each in maps), tuple(range(len(maps)))),
        first.keys,
    )


def pooled(weights: Floats, masked: Bools, rows: int, keys: int) -> tuple[Floats, Bools]:
    """Returns a map of fewer cells, each the largest of a block of rows x keys weights.

    A block is masked where all of it is.
    """
    largest = weights
    for axis, size in enumerate((rows, keys)):
        starts = np.arange(0, weights.shape[axis], size)
        largest = np.maximum.reduceat(largest, starts, axis=axis)
        masked = np.logical_and.reduceat(masked, starts, axis=axis)
    return largest, masked


def _cells(result: AttendResult) -> tuple[Floats, Bools]:
    """Returns weights and which are in sight, [batch, heads, queries, kv_len]."""
    if result.weights is None:
        raise ValueError("there are no weights to draw: call attend with weights=True")
    if result.weight_key_indices is not None:
        raise ValueError("top_k leaves weights out: call attend without it to draw them")
    in_sight = result.in_sight
    if in_sight is None:
        in_sight = np.ones(result.weights.shape, np.bool_)
    return result.weights, in_sight


def _heads(result: AttendResult, chosen: Sequence[int] | None) -> tuple[list[int], list[str]]:
    """Returns where the chosen heads are in the weights, and the title of each."""
    assert result.weights is not None
    count = result.weights.shape[1]
    spec = None if result._asked is None else result._asked.weights
    if spec is not None and spec.average_heads:
        if chosen is not None:
            raise ValueError("heads: these weights are a mean already; ask without average_heads")
        some = spec.heads is not None
        return [0], [f"mean of heads {_listed(result.selected_heads)}" if some else "mean"]
    there = list(result.selected_heads or range(count))
    for head in chosen or ():
        if head not in there:
            raise ValueError(f"heads: no weights of head {head}; there are {_listed(there)}")
    if chosen is not None and not len(chosen):
        raise ValueError("heads: name one at least")
    indices = range(count) if chosen is None else [there.index(head) for head in chosen]
    return list(indices), [f"head {there[index]}" for index in indices]


def _rows(there: Sequence[int], chosen: Sequence[int] | None, count: int) -> list[int]:
    """Returns which rows of the weights to draw, of a sequence with so many real queries."""
    if chosen is None:
        rows = [row for row, query in enumerate(there) if query < count]
        if not rows:
            raise ValueError("batch: all queries of this sequence are padding")
        return rows
    real = [query for query in there if query < count]
    rows = []
    for query in chosen:
        place = query + count if query < 0 else query
        if place not in real:
            raise ValueError(f"queries: no weights of query {query}; there are {_listed(real)}")
        rows.append(there.index(place))
    if not rows:
        raise ValueError("queries: name one at least")
    return rows


def _tokens_of(
    name: str, tokens: Tokens | None, batch: int, sequences: int, count: int, full: int
) -> tuple[str, ...] | None:
    """Returns the tokens of one sequence, padding left out; None where none are given.

    A list of strings is the tokens of the sequence that is drawn; where it does not fit, it may be
    one string of characters for each sequence.
    """
    if tokens is None:
        return None
    fits = (count, full)
    flat = all(isinstance(token, str) for token in tokens)
    own: Sequence[Any] = tokens
    if not flat or (len(tokens) not in fits and len(tokens) == sequences):
        if len(tokens) != sequences:
            raise ValueError(f"{name}: must be {sequences} lists, not {len(tokens)}")
        own = tokens[batch]
        if not all(isinstance(token, str) for token in own):
            raise ValueError(f"{name}: must be strings, or a list of strings for each sequence")
    if len(own) not in fits:
        raise ValueError(f"{name}: must be {count}, one for each place, not {len(own)}")
    return tuple(own[:count])


def _side(name: str, tokens: Sequence[str] | None, places: tuple[int, ...]) -> Side:
    shown = (str(place) if tokens is None else label(tokens[place]) for place in places)
    return Side(name, tuple(shown), places)


def _listed(numbers: Iterable[int]) -> str:
    """Returns numbers as a person says them: "0 to 11", "0, 3, 5"."""
    numbers = list(numbers)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]} to {numbers[-1]}"
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, …" if len(numbers) > 8 else shown or "none"
