"""Long sequences: what no row sees is not computed, and the answer is the same to the last key."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Outputs,
    Rows,
    WeightRows,
)
from attention_server.engine import attention
from attention_server.engine import engine as engine_module
from attention_server.engine.blocks import blocks
from attention_server.engine.engine import Engine
from attention_server.engine.providers import load_runtime
from attention_service.reference import attention as reference
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.engine.answers import result_of

_LONG = Dims(batch=2, query_len=600, kv_len=700, heads=4, kv_heads=2)
_WEIGHTS = Outputs(weights=WeightRows())
_random = np.random.default_rng(7)
_PAIRS = _random.random((1, 1, 600, 700)) < 0.5
_BIAS = _random.standard_normal((2, 4, 600, 700)).astype(np.float32)


def _expected(dims: Dims, masks: Masks, request: AttendRequest) -> dict[str, NDArray[np.float64]]:
    """Returns what the oracle says; the output is the joined heads."""

    def heads_of(joined: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
        split: NDArray[np.float32] = joined.reshape(*joined.shape[:2], heads, -1).swapaxes(1, 2)
        return split

    inside = reference(
        heads_of(request.query, dims.heads),
        heads_of(request.key, dims.kv_heads),
        heads_of(request.value, dims.kv_heads),
        scale=request.settings.scale,
        allowed=masks.allowed(dims.batch, dims.query_len, dims.kv_len),
        attn_bias=masks.attn_bias,
    )
    joined = inside.head_outputs.swapaxes(1, 2).reshape(dims.batch, dims.query_len, -1)
    return {**inside._asdict(), "output": joined}


def _check(result: AttendResult, expected: dict[str, NDArray[np.float64]]) -> None:
    for name, tensor in result.tensors().items():
        assert np.allclose(tensor, expected[name], rtol=0, atol=3e-6), name
    if result.weights is not None:
        assert not result.weights[expected["weights"] == 0.0].any()


_FORMS = {
    "no mask": (Masks(), "flash_unmasked"),
    "lengths": (Masks(kv_lengths=[700, 450]), "flash_unmasked"),
    "a short length": (Masks(kv_lengths=[700, 90]), "flash_unmasked+fast_unmasked"),
    "no keys at all": (Masks(kv_lengths=[0, 700]), "fast+flash_unmasked"),
    "causal": (Masks(causal="upper_left"), "fast"),
    "causal, to the last key": (Masks(causal="lower_right", kv_lengths=[650, 333]), "fast"),
    "window": (Masks(window=(20, 3)), "fast"),
    "causal with a window": (Masks(causal="lower_right", window=(70, None)), "fast"),
    "offsets": (Masks(causal="upper_left", query_offsets=[0, 550]), "fast"),
    "key mask": (Masks(key_mask=_random.random((2, 700)) < 0.5), "fast"),
    "mask of pairs": (Masks(attend_mask=_PAIRS, causal="upper_left"), "fast"),
    "bias": (Masks(attn_bias=_BIAS, window=(100, 100)), "fast"),
}


@pytest.fixture(scope="module")
def engine_of_two_threads() -> Engine:
    return Engine(load_runtime(intra_op_threads=2))


@pytest.mark.parametrize(("masks", "path"), _FORMS.values(), ids=_FORMS)
def test_a_long_request_with_any_mask_gives_what_the_oracle_says(
    engine: Engine, masks: Masks, path: str
) -> None:
    request = attend_request(_LONG, masks)

    result = result_of(engine, request)

    assert result.execution.path == path
    _check(result, _expected(_LONG, masks, request))


@pytest.mark.parametrize("masks", [masks for masks, _ in _FORMS.values()], ids=_FORMS)
def test_blocks_side_by_side_give_what_the_oracle_says(
    engine_of_two_threads: Engine, monkeypatch: pytest.MonkeyPatch, masks: Masks
) -> None:
    monkeypatch.setattr(engine_module, "WORTH_EVERY_CORE", 1)
    monkeypatch.setattr(attention, "_PAIRS_WORTH_THREADS", 1)
    request = attend_request(_LONG, masks)

    _check(result_of(engine_of_two_threads, request), _expected(_LONG, masks, request))


@pytest.mark.parametrize("masks", [masks for masks, _ in _FORMS.values()], ids=_FORMS)
def test_weights_of_a_long_request_are_zero_where_nothing_was_computed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, masks: Masks
) -> None:
    monkeypatch.setattr(attention, "blocks", partial(blocks, limit=1 << 17))
    request = attend_request(_LONG, masks, Options(_WEIGHTS))

    _check(result_of(engine, request), _expected(_LONG, masks, request))


def test_what_is_asked_for_of_every_row_keeps_long_requests_from_the_flash_kernel(
    engine: Engine,
) -> None:
    options = [
        Options(Outputs(log_sum_exp=True)),
        Options(Outputs(scores=Rows(query_indices=np.array([0])))),
        Options(_WEIGHTS),
        Options(softcap=3.0),
        Options(scale=4e36),  # the scores might overflow: each is looked at
    ]

    requests = [attend_request(_LONG, options=each) for each in options]
    paths = [result_of(engine, request).execution.path for request in requests]

    assert paths == ["full", "full", "fast_unmasked_weights", "full_softcap", "full"]


def test_scores_are_given_where_no_mask_lets_them_count(engine: Engine) -> None:
    masks = Masks(causal="upper_left", kv_lengths=[300, 600])
    request = attend_request(_LONG, masks, Options(Outputs(scores=Rows())))

    scores = result_of(engine, request).scores

    assert scores is not None
    expected = _expected(_LONG, masks, request)["scores"]
    assert np.allclose(scores, expected, rtol=0, atol=3e-6)
