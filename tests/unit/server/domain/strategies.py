"""Sizes and masks as hypothesis draws them; what arrays hold comes from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.server.attend_requests import Dims, Masks


@st.composite
def dims(draw: st.DrawFn) -> Dims:
    kv_heads = draw(st.integers(1, 3))
    return Dims(
        batch=draw(st.integers(1, 3)),
        query_len=draw(st.integers(1, 5)),
        kv_len=draw(st.integers(1, 6)),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
    )


@st.composite
def masks(draw: st.DrawFn, dims: Dims) -> Masks:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    given = draw(st.sets(st.sampled_from(["kv", "query", "offsets", "key", "attend", "bias"])))
    side = st.none() | st.integers(0, dims.kv_len)

    def lengths(largest: int) -> list[int]:
        return [int(n) for n in random.integers(0, largest + 1, dims.batch)]

    def pairs(dtype: type[np.generic]) -> NDArray[Any]:
        shape = tuple(draw(st.sampled_from([1, size])) for size in dims.pairs[:3])
        numbers = random.standard_normal((*shape, dims.kv_len))
        if dtype is np.bool_:
            return numbers < 0.5
        return np.where(random.random(numbers.shape) < 0.3, -np.inf, numbers).astype(np.float32)

    return Masks(
        kv_lengths=lengths(dims.kv_len) if "kv" in given else None,
        query_lengths=lengths(dims.query_len) if "query" in given else None,
        query_offsets=lengths(2 * dims.kv_len) if "offsets" in given else None,
        key_mask=random.random((dims.batch, dims.kv_len)) < 0.7 if "key" in given else None,
        attend_mask=pairs(np.bool_) if "attend" in given else None,
        attn_bias=pairs(np.float32) if "bias" in given else None,
        causal=draw(st.sampled_from(["none", "upper_left", "lower_right"])),
        window=(draw(side), draw(side)),
    )


@st.composite
def dims_and_masks(draw: st.DrawFn) -> tuple[Dims, Masks]:
    drawn = draw(dims())
    return drawn, draw(masks(drawn))
