"""Calls to ``attend`` for a part of what another one asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.parity.cases import Case, four_dimensional

__all__ = ["keys_of", "query_of", "sequence_of"]


def sequence_of(case: Case, b: int) -> Case:
    """Returns the call for one sequence alone."""

    def one(x: NDArray[Any]) -> NDArray[Any]:
        return x[b : b + 1] if x.shape[0] > 1 else x

    def pairs(mask: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if mask is None else one(four_dimensional(mask))

    masks = case.masks
    return replace(
        case,
        query=one(case.query),
        key=None if case.key is None else one(case.key),
        value=None if case.value is None else one(case.value),
        masks=replace(
            masks,
            kv_lengths=None if masks.kv_lengths is None else [masks.kv_lengths[b]],
            query_lengths=None if masks.query_lengths is None else [masks.query_lengths[b]],
            query_offsets=None if masks.query_offsets is None else [masks.query_offsets[b]],
            key_mask=None if masks.key_mask is None else one(masks.key_mask),
            attend_mask=pairs(masks.attend_mask),
            attn_bias=pairs(masks.attn_bias),
        ),
    )


def query_of(case: Case, i: int) -> Case:
    """Returns the call for one query of each sequence alone, where it stands."""

    def pairs(mask: NDArray[Any] | None) -> NDArray[Any] | None:
        if mask is None:
            return None
        mask = four_dimensional(mask)
        return mask[:, :, i : i + 1] if mask.shape[2] > 1 else mask

    masks = case.masks
    return replace(
        case,
        query=case.query[:, i : i + 1],
        masks=replace(
            masks,
            query_lengths=None,
            query_offsets=[int(place) for place in case.places[:, i]],
            attend_mask=pairs(masks.attend_mask),
            attn_bias=pairs(masks.attn_bias),
        ),
    )


def keys_of(case: Case, part: slice | NDArray[np.intp]) -> Case:
    """Returns the call with some of the keys, or in another order."""
    assert case.key is not None
    assert case.value is not None
    masks = case.masks
    return replace(
        case,
        key=case.key[:, part],
        value=case.value[:, part],
        masks=replace(
            masks,
            key_mask=None if masks.key_mask is None else masks.key_mask[:, part],
            attend_mask=None if masks.attend_mask is None else masks.attend_mask[..., part],
            attn_bias=None if masks.attn_bias is None else masks.attn_bias[..., part],
        ),
    )
