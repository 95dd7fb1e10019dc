"""Relations among the keywords: pairs of positions that belong together, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attention_client import _numbers
from attention_client._refusal import refusal
from attention_service.head_relations import Relations
from attention_service.reasons import Reason

__all__ = ["PairsByRelation", "relations_of"]

PairsByRelation: TypeAlias = Mapping[str, Iterable[Sequence[int] | NDArray[np.integer[Any]]]]
"""Pairs by the name of their relation: (query, key) or (sequence, query, key) each."""

_AXES = ("sequence", "query", "key")


def relations_of(
    relations: PairsByRelation | None, *, batch: int, query_len: int, kv_len: int
) -> Relations:
    """Returns the pairs of each relation, int64 [pairs, 3]; none where absent.

    Raises:
        InvalidRequestError: No pairs, or positions that this batch does not have.
    """
    if relations is None:
        return {}
    if not isinstance(relations, Mapping):
        raise refusal(
            "relations",
            f"must be a dictionary of pairs by the name of their relation, not {relations!r}",
            Reason.INVALID_COUNT,
        )
    sizes = (batch, query_len, kv_len)
    return {
        _numbers.text("relations", name): _pairs(f"relations[{name!r}]", pairs, sizes)
        for name, pairs in relations.items()
    }


def _pairs(argument: str, pairs: object, sizes: tuple[int, int, int]) -> NDArray[np.int64]:
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise refusal(argument, f"must be a list of pairs, not {pairs!r}", Reason.INVALID_COUNT)
    listed = [_pair(f"{argument}[{place}]", pair, sizes) for place, pair in enumerate(pairs)]
    return np.array(listed, np.int64).reshape(-1, len(_AXES))


def _pair(argument: str, pair: object, sizes: tuple[int, int, int]) -> list[int]:
    """Returns a pair with its sequence, which need not be named where there is one alone."""
    positions = [] if isinstance(pair, (str, bytes)) or not isinstance(pair, Iterable) else [*pair]
    if len(positions) == len(_AXES) - 1 and sizes[0] == 1:
        positions = [0, *positions]
    if len(positions) != len(_AXES):
        right = "(sequence, query, key)" + (" or (query, key)" if sizes[0] == 1 else "")
        raise refusal(argument, f"must be {right}, not {pair!r}", Reason.INVALID_COUNT)
    return [
        _numbers.whole(f"{argument} {axis}", position, high=size - 1)
        for axis, position, size in zip(_AXES, positions, sizes, strict=True)
    ]
