"""Every mask of a request as one bias, block by block."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from attention_server.domain.places import sees_every_key, sight
from attention_server.domain.request import AttendRequest, BoolArray, Float32Array

__all__ = ["Block", "BlockMask", "MaskBuilder"]


_NOTHING = np.zeros((1, 1, 1, 1), np.float32)
_FORBIDDEN = np.float32(-np.inf)

_ArrayT = TypeVar("_ArrayT", BoolArray, Float32Array)


class Block(NamedTuple):
    """Part of a request's rows: some sequences, heads and queries, over all keys."""

    batch: slice
    heads: slice
    kv_heads: slice
    queries: slice


class BlockMask(NamedTuple):
    """The masks of one block."""

    bias: Float32Array | None
    """[batch or 1, heads or 1, query_len, kv_len] of the block, -inf where a key is out of sight;
    None where all is in sight and nothing is added."""
    fully_masked_rows: int
    """Rows of real queries in the block that may attend to nothing."""

    @property
    def in_sight(self) -> BoolArray | None:
        """Which keys may be attended to, bool shaped as ``bias``; None for all."""
        return None if self.bias is None else self.bias > _FORBIDDEN


class MaskBuilder:
    """Builds the bias of any block of one request."""

    def __init__(self, request: AttendRequest) -> None:
        self._request = request
        mask = request.mask
        self._sees_every_key = sees_every_key(request)
        self._empty = (
            self._sees_every_key
            and mask.key_mask is None
            and mask.attend_mask is None
            and mask.attn_bias is None
        )

    def build(self, block: Block) -> BlockMask:
        """Returns the block's bias and how many of its rows see nothing."""
        if self._empty:
            return BlockMask(None, 0)
        request = self._request
        queries = range(*block.queries.indices(request.query_len))
        allowed = self._allowed(block)
        bias = _NOTHING if request.mask.attn_bias is None else _take(request.mask.attn_bias, block)
        if allowed is not None:
            bias = np.where(allowed, bias, _FORBIDDEN)
        # ONNX Runtime takes masks that broadcast over batch and heads, not over queries or keys.
        shape = (*bias.shape[:2], len(queries), request.kv_len)
        bias = np.ascontiguousarray(np.broadcast_to(bias, shape))
        return BlockMask(bias, self._count_blind(bias, block, queries))

    def _allowed(self, block: Block) -> BoolArray | None:
        """Returns the boolean masks together, broadcastable to the block, or None for all."""
        mask = self._request.mask
        parts: list[BoolArray] = []
        if not self._sees_every_key:
            keys = np.arange(self._request.kv_len)
            queries = np.arange(*block.queries.indices(self._request.query_len))
            seen = sight(self._request, queries, block.batch)
            first, end = (side[:, None, :, None] for side in seen)
            parts.append((keys >= first) & (keys < end))
        if mask.key_mask is not None:
            parts.append(_take(mask.key_mask[:, None, None, :], block))
        if mask.attend_mask is not None:
            parts.append(_take(mask.attend_mask, block))
        if not parts:
            return None
        allowed = parts[0]
        for part in parts[1:]:
            allowed = allowed & part
        return allowed

    def _count_blind(self, bias: Float32Array, block: Block, queries: range) -> int:
        lengths = self._request.mask.query_lengths[block.batch]
        heads = range(*block.heads.indices(self._request.settings.num_heads))
        real = np.asarray(queries) < lengths[:, None]  # [batch, query_len]
        blind = bias.max(axis=-1) == -np.inf  # [batch or 1, heads or 1, query_len]
        rows = int((blind & real[:, None]).sum())
        return rows * (len(heads) // int(blind.shape[1]))


def _take(array: _ArrayT, block: Block) -> _ArrayT:
    """Returns the block of a 4-dimensional array, in which any of the first three may be 1."""
    return array[
        block.batch if array.shape[0] > 1 else slice(None),
        block.heads if array.shape[1] > 1 else slice(None),
        block.queries if array.shape[2] > 1 else slice(None),
    ]
