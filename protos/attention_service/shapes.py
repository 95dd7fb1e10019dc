"""Shapes of the tensors that a request gives rise to, known before any of them is there."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol, TypeAlias

__all__ = ["Dims", "Rows", "Shapes", "WeightRows", "answer_shapes", "head_shapes"]

Shapes: TypeAlias = dict[str, tuple[int, ...]]
"""Dimensions of tensors, by their names in the contract."""


@dataclass(frozen=True)
class Dims:
    """The sizes of one request to one model."""

    batch: int
    query_len: int
    kv_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    """0 for a model that comes whole, as is ``value_head_dim``."""
    value_head_dim: int
    output_dim: int


class Rows(Protocol):
    """Heads and queries that are asked for; none named for all."""

    @property
    def heads(self) -> Sized | None:
        """Heads, in this order."""

    @property
    def query_indices(self) -> Sized | None:
        """Queries, in this order."""


class WeightRows(Rows, Protocol):
    """Weights that are asked for."""

    @property
    def average_heads(self) -> bool:
        """Whether the mean over the heads is one head."""

    @property
    def top_k(self) -> int:
        """Largest weights of a row to keep; 0 for all."""


def head_shapes(dims: Dims) -> Shapes:
    """Returns the shapes of what is computed over all heads for every request.

    That is projections and head outputs; of a model that comes whole the weights, for the queries
    of a sequence are computed together.
    """
    if not dims.head_dim:
        return {"weights": (dims.batch, dims.num_heads, dims.query_len, dims.kv_len)}
    return {
        "query_heads": (dims.batch, dims.num_heads, dims.query_len, dims.head_dim),
        "key_heads": (dims.batch, dims.num_kv_heads, dims.kv_len, dims.head_dim),
        "value_heads": (dims.batch, dims.num_kv_heads, dims.kv_len, dims.value_head_dim),
        "head_outputs": (dims.batch, dims.num_heads, dims.query_len, dims.value_head_dim),
    }


def answer_shapes(
    dims: Dims,
    *,
    output: bool,
    weights: WeightRows | None,
    scores: Rows | None,
    projections: bool,
    head_outputs: bool,
    log_sum_exp: bool,
) -> Shapes:
    """Returns the shape of each tensor in the answer to a request for these parts."""
    all_heads = head_shapes(dims)
    shapes: Shapes = {}
    if output:
        shapes["output"] = (dims.batch, dims.query_len, dims.output_dim)
    if weights is not None:
        batch, heads, queries = _rows(dims, weights)
        heads = 1 if weights.average_heads else heads
        keys = min(weights.top_k, dims.kv_len) or dims.kv_len
        shapes["weights"] = (batch, heads, queries, keys)
        if weights.top_k:
            shapes["weight_key_indices"] = shapes["weights"]
    if scores is not None:
        shapes["scores"] = (*_rows(dims, scores), dims.kv_len)
    if projections:
        shapes |= {name: all_heads[name] for name in ("query_heads", "key_heads", "value_heads")}
    if head_outputs:
        shapes["head_outputs"] = all_heads["head_outputs"]
    if log_sum_exp:
        shapes["log_sum_exp"] = (dims.batch, dims.num_heads, dims.query_len)
    return shapes


def _rows(dims: Dims, selected: Rows) -> tuple[int, int, int]:
    return (
        dims.batch,
        _count(selected.heads) or dims.num_heads,
        _count(selected.query_indices) or dims.query_len,
    )


def _count(named: Sized | None) -> int:
    return 0 if named is None else len(named)
