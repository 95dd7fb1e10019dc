"""What a result remembers of its call: who may attend to whom, and which weights were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from attention_client._names import CausalMode
from attention_client._outgoing import Outgoing
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_service.places import places, sight

if TYPE_CHECKING:
    from attention_client._attend import AttendCall

__all__ = ["Asked"]

BoolArray = NDArray[np.bool_]
Int64Array = NDArray[np.int64]
Window = tuple[int | None, int | None]

_LOWEST = np.finfo(np.float32).min


class _Lengths(TypedDict):
    kv_lengths: Int64Array
    query_lengths: Int64Array
    query_offsets: Int64Array | None


class Asked(NamedTuple):
    """All of a call that decides what its weights stand for; of its arrays the masks alone."""

    batch: int
    query_len: int
    kv_len: int
    self_attention: bool
    """Whether the keys are the queries."""
    kv_lengths: tuple[int, ...] | None
    query_lengths: tuple[int, ...] | None
    query_offsets: tuple[int, ...] | None
    key_mask: BoolArray | None
    attend_mask: BoolArray | None
    attn_bias: NDArray[Any] | None
    weights: WeightsSpec | None
    """None where none were asked for."""
    scores: ScoresSpec | None
    """None where none were asked for."""

    @classmethod
    def of(cls, call: AttendCall, request: Outgoing) -> Asked:
        """Returns what is to be remembered of a call, from which this request was made."""
        arrays = request.arrays
        query = arrays["query"].shape
        key = arrays.get("key")
        return cls(
            batch=query[0],
            query_len=query[1],
            kv_len=query[1] if key is None else key.shape[1],
            self_attention=key is None,
            kv_lengths=_copied(call.kv_lengths),
            query_lengths=_copied(call.query_lengths),
            query_offsets=_copied(call.query_offsets),
            key_mask=arrays.get("mask.key_mask"),
            attend_mask=arrays.get("mask.attend_mask"),
            attn_bias=arrays.get("mask.attn_bias"),
            weights=_spec(call.weights),
            scores=_scores_spec(call.scores),
        )

    def heads(self, num_heads: int) -> tuple[int, ...]:
        """Returns the heads whose weights were asked for, in order, of a layer with so many."""
        if self.weights is None:
            return ()
        chosen = self.weights.heads
        return tuple(range(num_heads) if chosen is None else map(int, chosen))

    @property
    def queries(self) -> tuple[int, ...]:
        """The queries whose weights were asked for, in order, none of them negative."""
        if self.weights is None:
            return ()
        chosen = self.weights.query_indices
        if chosen is None:
            return tuple(range(self.query_len))
        return tuple(int(index) % self.query_len for index in chosen)

    def score_rows(self, num_heads: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the heads and the queries whose scores were asked for, as those of weights."""
        if self.scores is None:
            return (), ()
        heads, queries = self.scores.heads, self.scores.query_indices
        return (
            tuple(range(num_heads) if heads is None else map(int, heads)),
            tuple(
                range(self.query_len)
                if queries is None
                else (int(q) % self.query_len for q in queries)
            ),
        )

    def in_sight(self, *, num_heads: int, causal: CausalMode, window: Window | None) -> BoolArray:
        """Returns which keys each row that was asked for may attend to.

        Args:
            num_heads: Query heads of the layer.
            causal: Causality as computed.
            window: Window as computed; None for no limit.

        Returns:
            Bool [batch, heads or 1, selected queries, kv_len]; of averaged heads what any sees.
        """
        heads, queries = np.array(self.heads(num_heads)), np.array(self.queries)
        window = window or (None, None)
        seen = sight(queries, **self._lengths, causal=causal, window=window)
        key = np.arange(self.kv_len)
        allowed = (key >= seen.first[..., None]) & (key < seen.end[..., None])
        allowed = allowed[:, None]  # [batch or 1, 1, selected queries, kv_len]
        if self.key_mask is not None:
            allowed = allowed & self.key_mask[:, None, None]
        if self.attend_mask is not None:
            allowed = allowed & _rows(self.attend_mask, heads, queries)
        if self.attn_bias is not None:
            # The lowest float32 forbids as -inf does, see the contract.
            bias = _rows(self.attn_bias, heads, queries).astype(np.float32, copy=False)
            allowed = allowed & (bias > _LOWEST)
        if self.weights is not None and self.weights.average_heads:
            allowed = np.any(allowed, axis=1, keepdims=True)
        return np.broadcast_to(allowed, (self.batch, *allowed.shape[1:]))

    def places(self, *, causal: CausalMode, window: Window | None) -> Int64Array | None:
        """Returns the place on the key axis of each query that was asked for.

        Args:
            causal: Causality as computed.
            window: Window as computed; None for no limit.

        Returns:
            int64 [batch or 1, selected queries]; None where nothing says how other queries than
            the keys themselves align with keys.
        """
        aligned = self.self_attention or self.query_offsets is not None
        if not aligned and causal == "none" and window is None:
            return None
        return places(np.array(self.queries), **self._lengths, causal=causal)

    @property
    def real_rows(self) -> BoolArray:
        """Which queries are no padding, bool [batch, query_len]."""
        return np.arange(self.query_len) < self._lengths["query_lengths"][:, None]

    @property
    def first_keys(self) -> Int64Array:
        """The lowest key of each sequence that is no padding, 0 where all are, int64 [batch]."""
        real = np.arange(self.kv_len) < self._lengths["kv_lengths"][:, None]
        if self.key_mask is not None:
            real = real & self.key_mask
        first: Int64Array = np.argmax(real, axis=1)
        return first

    @property
    def keys(self) -> Int64Array:
        """Keys of each sequence by length, int64 [batch]."""
        return self._lengths["kv_lengths"]

    @property
    def real_queries(self) -> Int64Array:
        """Queries of each sequence that are no padding, int64 [batch]."""
        return self._lengths["query_lengths"]

    @property
    def _lengths(self) -> _Lengths:
        """Lengths and offsets of the sequences, the contract's defaults filled in."""
        kv_lengths = self._one_each(self.kv_lengths, self.kv_len)
        query_lengths = self._one_each(self.query_lengths, self.query_len)
        if self.query_lengths is None and self.self_attention:
            query_lengths = kv_lengths
        offsets = self.query_offsets
        return {
            "kv_lengths": kv_lengths,
            "query_lengths": query_lengths,
            "query_offsets": None if offsets is None else np.array(offsets, np.int64),
        }

    def _one_each(self, lengths: tuple[int, ...] | None, full: int) -> Int64Array:
        return np.full(self.batch, full) if lengths is None else np.array(lengths, np.int64)


def _copied(numbers: Any) -> tuple[int, ...] | None:
    """Returns numbers that do not change when the caller's list does."""
    return None if numbers is None else tuple(numbers)


def _spec(weights: bool | WeightsSpec) -> WeightsSpec | None:
    if isinstance(weights, WeightsSpec):
        heads, queries = _copied(weights.heads), _copied(weights.query_indices)
        return WeightsSpec(heads, queries, weights.average_heads, weights.top_k)
    return WeightsSpec() if weights else None


def _scores_spec(scores: bool | ScoresSpec) -> ScoresSpec | None:
    if isinstance(scores, ScoresSpec):
        return ScoresSpec(_copied(scores.heads), _copied(scores.query_indices))
    return ScoresSpec() if scores else None


def _rows(pairs: NDArray[Any], heads: NDArray[Any], queries: NDArray[Any]) -> NDArray[Any]:
    """Returns the rows of these heads and queries, [batch or 1, heads or 1, queries or 1, kv_len].

    Of a mask over pairs in any form that a call may give it.
    """
    if pairs.ndim == 2:  # [query_len, kv_len]
        pairs = pairs[None, None]
    elif pairs.ndim == 3:  # [batch, query_len, kv_len]
        pairs = pairs[:, None]
    if pairs.shape[1] > 1:
        pairs = pairs[:, heads]
    return pairs[:, :, queries] if pairs.shape[2] > 1 else pairs
