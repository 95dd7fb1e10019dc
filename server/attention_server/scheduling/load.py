"""What the scheduler knows of a request: what it costs, and whom it can be computed with."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from attention_server.domain.batch import batch_key
from attention_server.domain.request import AttendRequest

__all__ = ["MOST_PADDING", "Load", "companions", "joined_work"]

MOST_PADDING = 0.25
"""Of the work of a batch."""

_PAIRS_A_TOKEN = 256
"""Pairs of a query and a key that cost as much as projecting a token, more or less."""

_LONGEST_TO_HEAD = 4
"""Work of the longest sequence in a batch, in those of the head: it shall not wait for giants."""


class Load(NamedTuple):
    """Sizes of a request. Requests of a kind cost alike, those of a key can be computed as one.

    There are about as few kinds as models, and as many keys as callers like.
    """

    kind: Hashable
    key: Hashable | None
    batch: int
    query_len: int
    kv_len: int

    @classmethod
    def of(cls, request: AttendRequest) -> Load:
        """Returns the load that a request is."""
        # "sdpa" is as wide as its callers say: what it costs goes by the power of two.
        kind = request.model, request.query.shape[2].bit_length()
        return cls(kind, batch_key(request), request.batch, request.query_len, request.kv_len)

    @property
    def work(self) -> float:
        """What it takes to compute, in tokens."""
        return self.batch * _work(self.query_len, self.kv_len)


def joined_work(loads: Sequence[Load]) -> float:
    """Returns what it takes to compute them as one batch, padding included, in tokens."""
    longest = max(load.query_len for load in loads), max(load.kv_len for load in loads)
    return sum(load.batch for load in loads) * _work(*longest)


def companions(alike: Sequence[Load], *, most: int, budget: float) -> list[int]:
    """Returns which loads make the largest batch with the first; that is 0, and stands first.

    At most MOST_PADDING of the batch is padding, and its work is within the budget.

    Args:
        alike: Loads with the same key.
        most: Loads in the batch.
        budget: Work of the batch, in tokens.
    """
    lengths = [_work(load.query_len, load.kv_len) for load in alike]
    bound = _LONGEST_TO_HEAD * lengths[0]
    rest = sorted(
        (i for i in range(1, len(alike)) if lengths[i] <= bound),
        key=lengths.__getitem__,
        reverse=True,
    )
    best = [0]
    # The longest of a batch says what all others are padded to. Those that need the least padding
    # beside it are the next in order; the head, which must be in, may be shorter than all of them.
    for start in range(len(rest)):
        if len(best) >= min(most, len(rest) - start + 1):
            break
        batch = _fitting(alike, rest[start : start + most - 1], budget)
        if len(batch) > len(best):
            best = batch
    return best


def _fitting(alike: Sequence[Load], rest: Sequence[int], budget: float) -> list[int]:
    """Returns 0 and the first few of the rest: the most that can be one batch."""
    head = alike[0]
    sequences, useful = head.batch, head.work
    query_len, kv_len = head.query_len, head.kv_len
    fitting = 0
    for count, i in enumerate(rest, 1):
        load = alike[i]
        sequences += load.batch
        useful += load.work
        query_len, kv_len = max(query_len, load.query_len), max(kv_len, load.kv_len)
        work = sequences * _work(query_len, kv_len)
        if work > budget:
            break
        if useful >= (1 - MOST_PADDING) * work:
            fitting = count
    return [0, *rest[:fitting]]


def _work(query_len: int, kv_len: int) -> float:
    """Returns the work of one sequence."""
    return (query_len + kv_len + query_len * kv_len / _PAIRS_A_TOKEN) / 2
