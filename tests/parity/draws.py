"""Calls to ``attend`` as hypothesis draws them.

Hypothesis draws the structure: sizes, which masks, which options. What arrays hold comes from a
seed, so that an example is drawn fast and shrinks by its structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_service.manifest import Causal
from tests.parity.cases import LAYERS, LOWEST, MODELS, Case, LayerDims, Masks

DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

_SHORT = st.integers(1, 9)
_LENGTHS = _SHORT | _SHORT | st.sampled_from([17, 33, 70])
"""Mostly short, some longer than the blocks in which kernels work."""
_MASKS = ("kv", "query", "offsets", "key", "attend", "bias")


def row_parts() -> st.SearchStrategy[dict[str, bool]]:
    """Draws what is wanted of each row, as keywords; it decides which path the engine takes."""
    return st.fixed_dictionaries(
        {name: st.booleans() for name in ("weights", "head_outputs", "log_sum_exp")}
    )


@st.composite
def cases(
    draw: st.DrawFn,
    model: str | None = None,
    *,
    dtypes: Sequence[str] = ("float32",),
    masks: Sequence[str] = _MASKS,
    place_matters: bool = True,
    cross: bool = False,
) -> Case:
    """Draws calls.

    Args:
        draw: Hypothesis's.
        model: One of MODELS; any if absent.
        dtypes: Types in which tensors may be sent.
        masks: Masks that may be given.
        place_matters: Whether causality and window may be given.
        cross: Whether key and value are always given.
    """
    model = model or draw(st.sampled_from(MODELS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    given = draw(_inputs(model, cross=cross))
    dims = LAYERS[model] if model in LAYERS else draw(_sdpa_dims(given))
    batch, query_len = draw(st.integers(1, 3)), draw(_LENGTHS)
    kv_len = draw(_LENGTHS) if "key" in given else query_len

    def normal(length: int, width: int) -> NDArray[Any]:
        dtype = DTYPES[draw(st.sampled_from(dtypes))]
        return random.standard_normal((batch, length, width)).astype(dtype)

    return Case(
        model=model,
        dims=dims,
        query=normal(query_len, dims.query_dim),
        key=normal(kv_len, dims.key_dim) if "key" in given else None,
        value=normal(kv_len, dims.value_dim) if "value" in given else None,
        masks=draw(
            _masks(
                random,
                (batch, dims.heads, query_len, kv_len),
                given=draw(st.sets(st.sampled_from(masks))) if masks else set(),
                dtypes=dtypes,
                place_matters=place_matters,
            )
        ),
        scale=draw(st.sampled_from([None, None, None, 0.0, 0.25, -0.5, 1.5])),
        softcap=draw(st.sampled_from([None, None, None, 0.0, 1.5, 30.0])),
        ablated_heads=draw(st.lists(st.integers(0, dims.heads - 1), max_size=2)),
    )


def _inputs(model: str, *, cross: bool) -> st.SearchStrategy[set[str]]:
    """Draws which of key and value are given."""
    if cross or model == "grouped":  # its widths differ
        return st.just({"key", "value"})
    return st.sets(st.sampled_from(["key", "value"]))


@st.composite
def _sdpa_dims(draw: st.DrawFn, given: set[str]) -> LayerDims:
    kv_heads, head_dim = draw(st.integers(1, 4)), draw(st.integers(1, 8) | st.just(64))
    # What takes another's place has its width.
    group = draw(st.integers(1, 3)) if "key" in given else 1
    value_head_dim = draw(st.integers(1, 8) | st.just(64)) if "value" in given else head_dim
    heads = kv_heads * group
    return LayerDims(
        query_dim=heads * head_dim,
        key_dim=kv_heads * head_dim,
        value_dim=kv_heads * value_head_dim,
        output_dim=heads * value_head_dim,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
    )


@st.composite
def _masks(
    draw: st.DrawFn,
    random: np.random.Generator,
    shape: tuple[int, int, int, int],
    *,
    given: set[str],
    dtypes: Sequence[str],
    place_matters: bool,
) -> Masks:
    batch, heads, query_len, kv_len = shape

    def lengths(largest: int) -> list[int]:
        return [int(n) for n in random.integers(0, largest + 1, batch)]

    def pairs() -> tuple[int, ...]:
        rank = draw(st.integers(2, 4))
        if rank == 2:
            return (query_len, kv_len)
        if rank == 3:
            return (batch, query_len, kv_len)
        some = [draw(st.sampled_from([1, size])) for size in (batch, heads, query_len)]
        return (*some, kv_len)

    def bias() -> NDArray[Any]:
        dtype = DTYPES[draw(st.sampled_from(dtypes))]
        numbers = random.uniform(-10.0, 10.0, pairs()).astype(dtype)
        forbidden = random.random(numbers.shape)
        numbers[forbidden < draw(st.sampled_from([0.0, 0.3]))] = -np.inf
        if dtype == np.float32:
            numbers[forbidden > draw(st.sampled_from([1.0, 0.8]))] = LOWEST
        return numbers

    causal: st.SearchStrategy[Causal | None] = st.just("none")
    window: st.SearchStrategy[tuple[int | None, int | None] | None] = st.just((None, None))
    if place_matters:
        side = st.none() | st.integers(0, kv_len)
        causal = st.sampled_from([None, "none", "upper_left", "lower_right"])
        window = st.none() | st.tuples(side, side)  # None: the model's own
    return Masks(
        kv_lengths=lengths(kv_len) if "kv" in given else None,
        query_lengths=lengths(query_len) if "query" in given else None,
        query_offsets=lengths(kv_len + 2) if "offsets" in given else None,
        key_mask=random.random((batch, kv_len)) < 0.7 if "key" in given else None,
        attend_mask=random.random(pairs()) < 0.7 if "attend" in given else None,
        attn_bias=bias() if "bias" in given else None,
        causal=draw(causal),
        window=draw(window),
    )
