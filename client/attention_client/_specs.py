"""What to return of weights and scores."""

from __future__ import annotations

from dataclasses import dataclass

from attention_client import _numbers
from attention_client._numbers import Integers
from attention_service.v1 import attention_pb2 as pb

__all__ = ["ScoresSpec", "WeightsSpec"]


@dataclass(frozen=True)
class WeightsSpec:
    """Selects attention weights: first heads and queries, then the mean, then the largest."""

    heads: Integers | None = None
    """Heads to return, in this order, repeats allowed; all where absent."""
    query_indices: Integers | None = None
    """Queries to return, in this order, repeats allowed; -1 is the last; all where absent."""
    average_heads: bool = False
    """Returns the mean over the selected heads as one head."""
    top_k: int | None = None
    """Keeps the largest weights of a row, largest first; all, in place, where absent."""

    def message(self, query_len: int) -> pb.WeightsSpec:
        """Returns the contract's message, for a query of this length.

        Raises:
            InvalidRequestError: An index or a number that is none.
        """
        return pb.WeightsSpec(
            heads=_numbers.selected_heads("weights.heads", self.heads),
            query_indices=_numbers.selected_queries(
                "weights.query_indices", self.query_indices, query_len=query_len
            ),
            average_heads=_numbers.flag("weights.average_heads", self.average_heads),
            top_k=0 if self.top_k is None else _numbers.whole("weights.top_k", self.top_k),
        )


@dataclass(frozen=True)
class ScoresSpec:
    """Selects scores."""

    heads: Integers | None = None
    """Heads to return, in this order; all where absent."""
    query_indices: Integers | None = None
    """Queries to return, in this order; -1 is the last; all where absent."""

    def message(self, query_len: int) -> pb.ScoresSpec:
        """Returns the contract's message, for a query of this length.

        Raises:
            InvalidRequestError: An index that is none.
        """
        return pb.ScoresSpec(
            heads=_numbers.selected_heads("scores.heads", self.heads),
            query_indices=_numbers.selected_queries(
                "scores.query_indices", self.query_indices, query_len=query_len
            ),
        )
