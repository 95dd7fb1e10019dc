"""The probe finds each way in which an Attention operator was ever wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_server.engine.probe import attends_rightly
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.reference import attention

_Arrays = Mapping[str, NDArray[np.float32]]
_Results = Mapping[str, NDArray[np.float64]]


def _right(inputs: _Arrays) -> _Results:
    bias = inputs.get("attn_bias")
    scale = float(inputs["scale"])
    heads = inputs["query"], inputs["key"], inputs["value"]
    return attention(*heads, scale=scale, attn_bias=bias)._asdict()


def _next_key_head(inputs: _Arrays) -> _Results:
    """Gives query head h key and value head h % kv_heads."""
    group = inputs["query"].shape[1] // inputs["key"].shape[1]
    tiled = {name: np.tile(inputs[name], (1, group, 1, 1)) for name in ("key", "value")}
    return _right({**inputs, **tiled})


def _mask_of_first(axis: int) -> Callable[[_Arrays], _Results]:
    def first(inputs: _Arrays) -> _Results:
        return _right({**inputs, "attn_bias": inputs["attn_bias"].take([0], axis)})

    return first


def _no_mask(inputs: _Arrays) -> _Results:
    return _right({name: array for name, array in inputs.items() if name != "attn_bias"})


def _blind_rows(*, see: float) -> Callable[[_Arrays], _Results]:
    def spoilt(inputs: _Arrays) -> _Results:
        results = dict(_right(inputs))
        blind = results["log_sum_exp"] == -np.inf
        return {name: _filled(tensor, blind, see) for name, tensor in results.items()}

    return spoilt


def _filled(
    tensor: NDArray[np.float64], rows: NDArray[np.bool_], value: float
) -> NDArray[np.float64]:
    tensor = tensor.copy()
    tensor[rows] = value
    return tensor


def _scores_for_weights(inputs: _Arrays) -> _Results:
    results = _right(inputs)
    return {**results, "weights": results["scores"]}


def _refuses(inputs: _Arrays) -> _Results:
    raise RuntimeError("not implemented")


class _Operator:
    """Stands for a session whose operator computes as it is told."""

    def __init__(self, runtime: Runtime, compute: Callable[[_Arrays], _Results]) -> None:
        self._runtime = runtime
        self._compute = compute

    def run(self, outputs: Sequence[str], inputs: Mapping[str, DeviceTensor]) -> list[DeviceTensor]:
        results = self._compute({name: tensor.to_host() for name, tensor in inputs.items()})
        return [
            DeviceTensor.from_host(self._runtime, results[name].astype(np.float32))
            for name in outputs
        ]


def _found_right(runtime: Runtime, compute: Callable[[_Arrays], _Results], *, masked: bool) -> bool:
    session = cast(Session, _Operator(runtime, compute))
    return attends_rightly(runtime, session, masked=masked, with_weights=True)


@pytest.mark.parametrize("masked", [False, True])
def test_an_operator_that_is_right_is_found_right(runtime: Runtime, masked: bool) -> None:
    assert _found_right(runtime, _right, masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("wrong", [_next_key_head, _refuses, _scores_for_weights])
def test_an_operator_that_is_wrong_is_found_wrong(
    runtime: Runtime, wrong: Callable[[_Arrays], _Results], masked: bool
) -> None:
    assert not _found_right(runtime, wrong, masked=masked)


@pytest.mark.parametrize(
    "wrong",
    [
        _no_mask,
        _mask_of_first(axis=0),
        _mask_of_first(axis=1),
        _blind_rows(see=np.nan),
        _blind_rows(see=1.0),
    ],
    ids=[
        "no mask at all",
        "the first sequence's mask for all",
        "the first head's mask for all",
        "NaN for rows without keys",
        "something for rows without keys",
    ],
)
def test_an_operator_that_has_masks_wrong_is_found_wrong(
    runtime: Runtime, wrong: Callable[[_Arrays], _Results]
) -> None:
    assert not _found_right(runtime, wrong, masked=True)
