"""What a model is tried with before it is served: small requests, of two sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from attention_server.domain.masks import Block
from attention_server.domain.model import Model
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Int32Array,
    Mask,
    Outputs,
    WeightRows,
)
from attention_server.engine.layers import Heads, Layer
from attention_server.engine.model_unusable import ModelUnusable, check_shape

__all__ = ["check_layer", "check_output", "check_same", "check_sight", "first_requests"]


class _Sizes(NamedTuple):
    batch: int
    query_len: int
    kv_len: int


# All different, so that each shows; twice, for a graph may have been made for one size alone.
_TRIED_SIZES = (_Sizes(batch=1, query_len=2, kv_len=3), _Sizes(batch=2, query_len=3, kv_len=5))

_ROUNDING = 1e-5  # relative to the largest magnitude


def first_requests(model: Model) -> Iterator[AttendRequest]:
    """Yields requests of ones for all that the model can give beside scores and log-sum-exp."""
    for sizes in _TRIED_SIZES:
        yield _request(model, sizes)


def check_sight(request: AttendRequest, attend: Callable[[AttendRequest], AttendResult]) -> None:
    """Refuses a layer whose output depends on what its mask forbids.

    That a model that comes whole obeys its masks no other code makes sure of, and of one that gives
    no weights nobody would see it. So a mask is told in which nobody sees the first key and the
    first query sees nothing, twice, with another such key and its value.

    Args:
        request: A first request.
        attend: Computes a request.

    Raises:
        ModelUnusable: Two outputs further apart than rounding.
    """
    random = np.random.default_rng(0)
    mask = np.ones((1, 1, request.query_len, request.kv_len), np.bool_)
    mask[:, :, 0] = mask[..., 0] = False
    # Equal keys have equal weights, so values that differ show each key that is looked at.
    value = random.standard_normal(request.value.shape).astype(np.float32)
    request = replace(request, value=value, mask=replace(request.mask, attend_mask=mask))
    other_key, other_value = request.key.copy(), value.copy()
    for array in (other_key, other_value):
        array[:, 0] = random.standard_normal(array[:, 0].shape)
    output = attend(request).output
    other = attend(replace(request, key=other_key, value=other_value)).output
    assert output is not None, "an output is what requests ask for unless they say otherwise"
    assert other is not None, "as above"
    with np.errstate(over="ignore"):
        difference = np.abs(output - other).max()
    if difference > _ROUNDING * np.abs(output).max():
        raise ModelUnusable("its output changes with keys that attend_mask forbids")


def _request(model: Model, sizes: _Sizes) -> AttendRequest:
    batch, query_len, kv_len = sizes
    uses_positions = model.positions != "none"
    return AttendRequest(
        model=model.key,
        query=np.ones((batch, query_len, model.query_dim), np.float32),
        key=np.ones((batch, kv_len, model.key_dim), np.float32),
        value=np.ones((batch, kv_len, model.value_dim), np.float32),
        mask=Mask(kv_lengths=np.full(batch, kv_len), query_lengths=np.full(batch, query_len)),
        settings=model.defaults,
        outputs=Outputs(
            weights=WeightRows() if "weights" in model.outputs else None,
            projections="projections" in model.outputs,
            head_outputs="head_outputs" in model.outputs,
        ),
        query_positions=_positions(batch, query_len) if uses_positions else None,
        key_positions=_positions(batch, kv_len) if uses_positions else None,
    )


def _positions(batch: int, length: int) -> Int32Array:
    """Returns other positions for each sequence: with the same, fewer would be told to the bias."""
    return np.arange(batch * length, dtype=np.int32).reshape(batch, length)


def check_layer(model: Model, layer: Layer, request: AttendRequest) -> None:
    """Refuses a layer whose heads or position bias are not of the sizes that its manifest says.

    Raises:
        ModelUnusable: Attention over other heads than the model says would mean nothing.
    """
    _check_heads(model, request, layer.project(request))
    group = model.defaults.num_heads // model.defaults.num_kv_heads
    last = model.defaults.num_heads - 1  # alone; attention asks for all of them
    block = Block(
        batch=slice(0, request.batch),
        heads=slice(last, last + 1),
        kv_heads=slice(last // group, last // group + 1),
        queries=slice(0, request.query_len),
        keys=slice(0, request.kv_len),
    )
    layer.position_bias(request, block)


def check_output(model: Model, request: AttendRequest, result: AttendResult) -> None:
    """Refuses a layer whose output is not of the size that its manifest says.

    Raises:
        ModelUnusable: Its message names both sizes.
    """
    assert result.output is not None, "an output is what requests ask for unless they say otherwise"
    expected = (request.batch, request.query_len, model.output_dim)
    check_shape("output", result.output.shape, expected)


def check_same(one: AttendResult | None, other: AttendResult) -> None:
    """Refuses an output that is not the same as another, or none.

    Raises:
        ModelUnusable: The two are further apart than rounding.
    """
    assert other.output is not None, "an output is what requests ask for unless they say otherwise"
    if one is None or one.output is None or one.output.shape != other.output.shape:
        raise ModelUnusable("it gives another output in one graph than in stages")
    if np.abs(one.output - other.output).max() > _ROUNDING * np.abs(other.output).max():
        raise ModelUnusable("it gives another output in one graph than in stages")


def _check_heads(model: Model, request: AttendRequest, heads: Heads) -> None:
    settings, batch = model.defaults, request.batch
    kv_heads = (batch, settings.num_kv_heads, request.kv_len)
    check_shape(
        "query_heads",
        heads.query.shape,
        (batch, settings.num_heads, request.query_len, model.head_dim),
    )
    check_shape("key_heads", heads.key.shape, (*kv_heads, model.head_dim))
    check_shape("value_heads", heads.value.shape, (*kv_heads, model.value_head_dim))
