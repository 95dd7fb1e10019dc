"""Every mask of a request as one bias, block by block, over the keys that a block sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from attention_server.domain.places import Sight, sees_every_key, sight
from attention_server.domain.request import AttendRequest, BoolArray, Float32Array, Int64Array

__all__ = ["Block", "BlockMask", "MaskBuilder", "fully_masked_rows"]


_FORBIDDEN = np.float32(-np.inf)
_PAIRS_AT_ONCE = 1 << 20
_PLACES_AT_ONCE = 1 << 20  # of 8 bytes, in half a dozen arrays

_ArrayT = TypeVar("_ArrayT", BoolArray, Float32Array)


class Block(NamedTuple):
    """Part of a request: some sequences, heads and queries, and the keys that they look at."""

    batch: slice
    heads: slice
    kv_heads: slice
    queries: slice
    keys: slice


class BlockMask(NamedTuple):
    """The masks of one block."""

    bias: Float32Array | None
    """[batch or 1, heads or 1, queries, keys] of the block, -inf where a key is out of sight;
    None where all is in sight and nothing is added."""

    @property
    def in_sight(self) -> BoolArray | None:
        """Which keys may be attended to, bool shaped as ``bias``; None for all."""
        return None if self.bias is None else self.bias > _FORBIDDEN


_NO_BIAS = BlockMask(None)


class MaskBuilder:
    """Builds the bias of any block of one request.

    Args:
        request: The request, all of it.
        queries: Indices, ascending, of the queries that blocks are cut of; None for all.
    """

    def __init__(self, request: AttendRequest, queries: Int64Array | None = None) -> None:
        self._request = request
        self._queries = queries
        self._sees_every_key = sees_every_key(request)
        mask = request.mask
        pairs = [x for x in (mask.attend_mask, mask.attn_bias) if x is not None]
        self._empty = self._sees_every_key and mask.key_mask is None and not pairs
        self._by_length_alone = mask.key_mask is None and not pairs
        self._same_for_all_heads = all(x.shape[1] == 1 for x in pairs)
        # Of the last block: blocks of the same queries follow each other.
        self._last_keys: tuple[tuple[slice, slice], slice] | None = None
        self._last_mask: tuple[tuple[slice, slice, slice], BlockMask] | None = None

    @property
    def same_for_every_query(self) -> bool:
        """Whether nothing but the sequences' lengths keeps a key from a query."""
        settings = self._request.settings
        causal = settings.causal != "none" or settings.window != (None, None)
        return self._empty or (self._by_length_alone and not causal)

    def keys(self, block: Block) -> slice:
        """Returns the keys that length, causality and window leave to any row of a block.

        One key where they leave none, for a row cannot have less.
        """
        if self._sees_every_key:
            return slice(0, self._request.kv_len)
        part = (block.batch, block.queries)
        if self._last_keys is None or self._last_keys[0] != part:
            self._last_keys = part, _keys(self._sight(block))
        return self._last_keys[1]

    def build(self, block: Block) -> BlockMask:
        """Returns the block's bias. What is out of sight for all rows may lie outside its keys."""
        if self._empty:
            return _NO_BIAS
        part = (block.batch, block.queries, block.keys)
        if self._last_mask is not None and self._last_mask[0] == part:
            return self._last_mask[1]
        self._last_mask = None  # whose memory the next one may take
        mask = self._build(block)
        if self._same_for_all_heads:
            self._last_mask = part, mask
        return mask

    def _build(self, block: Block) -> BlockMask:
        mask = self._request.mask
        parts = [] if mask.key_mask is None else [_take(mask.key_mask[:, None, None], block, None)]
        index = self._index(block)
        if mask.attend_mask is not None:
            parts.append(_take(mask.attend_mask, block, index))
        added = None if mask.attn_bias is None else _take(mask.attn_bias, block, index)
        fringes = [] if self._sees_every_key else list(_fringes(self._sight(block), block.keys))
        if not parts and added is None and not fringes:
            return _NO_BIAS
        # ONNX Runtime takes masks that broadcast over batch and heads, not over queries or keys.
        rows, keys = _size(block.queries), _size(block.keys)
        some = [(len(hidden), 1) for _, hidden in fringes] + [x.shape[:2] for x in parts]
        if added is not None:
            some.append(added.shape[:2])
        shape = (*np.broadcast_shapes(*some), rows, keys)
        bias = np.zeros(shape, np.float32)
        if added is not None:
            np.copyto(bias, added)
        for where, hidden in fringes:
            np.copyto(bias[..., where], _FORBIDDEN, where=hidden)
        for allowed in parts:
            np.copyto(bias, _FORBIDDEN, where=~allowed)
        return BlockMask(bias)

    def _index(self, block: Block) -> slice | Int64Array:
        """Returns the indices of the block's queries in the request."""
        return block.queries if self._queries is None else self._queries[block.queries]

    def _sight(self, block: Block) -> Sight:
        index = self._index(block)
        queries = np.arange(index.start, index.stop) if isinstance(index, slice) else index
        seen = sight(self._request, queries, block.batch)
        return Sight(*(_once(side) for side in seen))


def fully_masked_rows(request: AttendRequest) -> int:
    """Returns how many rows of real queries, of all heads, may attend to nothing."""
    mask, heads = request.mask, request.settings.num_heads
    pairs = mask.attend_mask is not None or mask.attn_bias is not None
    if not pairs and mask.key_mask is None and sees_every_key(request):
        return 0
    if pairs:
        return sum(
            int((blind & _real(request, slice(b, b + 1), queries)).sum()) * (heads // len(blind))
            for b, queries, blind in _blind_pairs(request)
        )
    sequences = max(1, _PLACES_AT_ONCE // max(request.query_len, request.kv_len))
    parts = (slice(b, b + sequences) for b in range(0, request.batch, sequences))
    return sum(_blind_rows(request, part) for part in parts) * heads


def _real(request: AttendRequest, batch: slice, queries: slice) -> BoolArray:
    """Returns which of these queries are no padding [sequences, queries]."""
    index = np.arange(queries.start, queries.stop)
    real: BoolArray = index < request.mask.query_lengths[batch, None]
    return real


def _blind_rows(request: AttendRequest, batch: slice) -> int:
    """Returns how many rows of real queries of these sequences see nothing, in one head.

    For requests that have no mask of pairs.
    """
    real, key_mask = _real(request, batch, slice(0, request.query_len)), request.mask.key_mask
    first, end = sight(request, np.arange(request.query_len), batch)
    if key_mask is None:
        return int((real & (first >= end)).sum())
    allowed = key_mask[batch]
    before = np.zeros((len(allowed), request.kv_len + 1), np.int64)  # keys before each
    np.cumsum(allowed, axis=1, out=before[:, 1:])
    first, end = (np.clip(side, 0, request.kv_len) for side in (first, end))
    first, end = (np.broadcast_to(side, real.shape) for side in (first, end))
    seen = np.take_along_axis(before, end, 1) - np.take_along_axis(before, first, 1)
    return int((real & (seen <= 0)).sum())


def _blind_pairs(request: AttendRequest) -> Iterator[tuple[int, slice, BoolArray]]:
    """Yields a sequence, some of its queries, and which of them see nothing [heads or 1, queries].

    Pair by pair, for requests that have a mask of pairs.
    """
    builder = MaskBuilder(request)
    heads = slice(0, request.settings.num_heads)
    kv_heads = slice(0, request.settings.num_kv_heads)
    rows = max(1, _PAIRS_AT_ONCE // (heads.stop * request.kv_len))
    for b in range(request.batch):
        for q in range(0, request.query_len, rows):
            queries = slice(q, min(q + rows, request.query_len))
            block = Block(slice(b, b + 1), heads, kv_heads, queries, slice(0, 0))
            bias = builder.build(block._replace(keys=builder.keys(block))).bias
            if bias is not None:
                yield b, queries, bias[0].max(axis=-1) == _FORBIDDEN


def _keys(seen: Sight) -> slice:
    """Returns the keys from the first to the last that any row sees; one key where none does."""
    first, end = np.broadcast_arrays(*seen)
    sees = first < end
    if not sees.any():
        return slice(0, 1)
    return slice(int(first[sees].min()), int(end[sees].max()))


def _fringes(seen: Sight, keys: slice) -> Iterator[tuple[slice, BoolArray]]:
    """Yields the stretches of keys that some rows do not see.

    As a part of the last dimension, with which rows do not [batch or 1, 1, queries, stretch].
    """
    first, end = (np.clip(side, keys.start, keys.stop) for side in seen)
    # A row that sees nothing leaves no key to all: it may begin behind its own end.
    inner_first, inner_end = int(first.max()), int(end.min())
    stretches = [(keys.start, inner_first), (inner_end, keys.stop)]
    if inner_first >= inner_end:
        stretches = [(keys.start, keys.stop)]
    first, end = first[:, None, :, None], end[:, None, :, None]
    for start, stop in stretches:
        if start < stop:
            index = np.arange(start, stop)
            hidden = (index < first) | (index >= end)
            yield slice(start - keys.start, stop - keys.start), hidden


def _once(side: Int64Array) -> Int64Array:
    """Returns one row for all sequences, where theirs are the same."""
    return side[:1] if (side == side[:1]).all() else side


def _take(array: _ArrayT, block: Block, queries: slice | Int64Array | None) -> _ArrayT:
    """Returns the block of a 4-dimensional array, in which any of the first three may be 1."""
    array = array[
        block.batch if array.shape[0] > 1 else slice(None),
        block.heads if array.shape[1] > 1 else slice(None),
        :,
        block.keys,
    ]
    return array if queries is None or array.shape[2] == 1 else array[:, :, queries]


def _size(part: slice) -> int:
    return int(part.stop - part.start)
