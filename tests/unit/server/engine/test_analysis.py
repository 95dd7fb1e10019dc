"""What heads attend to, from blocks: the same figures however a request is cut and computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from attention_server.domain.errors import Abandoned
from attention_server.domain.places import places
from attention_server.domain.request import Mask, Outputs, Task, WeightRows
from attention_server.engine import blocks
from attention_server.engine.engine import Engine
from attention_server.engine.providers import Runtime
from attention_service.head_analysis import HeadAnalysis
from attention_service.head_measures import HeadMeasures, head_measures
from tests.made_models import MODELS
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.engine.answers import result_of
from tests.unit.server.engine.made import described, made_request

_LONG = Dims(batch=2, query_len=600, kv_len=700, heads=4, kv_heads=2)
_random = np.random.default_rng(3)
_PAIRS = np.stack([_random.integers(0, size, 200) for size in (2, 600, 700)], axis=1)
_ANALYSIS = Outputs(output=False, analysis={"drawn": _PAIRS})
_ALL_WEIGHTS = Outputs(output=False, weights=WeightRows())

_FORMS = {
    "no mask": (Masks(), Options()),
    "lengths": (Masks(kv_lengths=[700, 450], query_lengths=[500, 0]), Options()),
    "causal, to the last key": (Masks(causal="lower_right", kv_lengths=[650, 333]), Options()),
    "window": (Masks(window=(20, 3)), Options()),
    "far offsets": (Masks(window=(2**31, 0), query_offsets=[2**31 - 1, 90]), Options()),
    "mask of heads": (
        Masks(attend_mask=_random.random((1, 4, 600, 700)) < 0.5, causal="upper_left"),
        Options(),
    ),
    "key mask, step by step": (
        Masks(key_mask=_random.random((2, 700)) < 0.5, causal="upper_left"),
        Options(softcap=2.0),
    ),
    "scores that might overflow": (Masks(causal="upper_left"), Options(scale=1e36)),
}


def check_same(analysed: Sequence[HeadAnalysis] | None, measured: Sequence[HeadMeasures]) -> None:
    """Compares all but the pattern, which is told from the rest."""
    assert analysed is not None
    for analysis, expected in zip(analysed, measured, strict=True):
        for name, figure in vars(expected).items():
            close = None if figure is None else pytest.approx(figure, rel=1e-6, abs=1e-6)
            assert getattr(analysis, name) == close, name


@pytest.mark.parametrize(("masks", "options"), _FORMS.values(), ids=_FORMS)
def test_a_long_request_is_analysed_as_its_weights_are(
    engine: Engine, masks: Masks, options: Options
) -> None:
    request = attend_request(_LONG, masks, replace(options, outputs=_ANALYSIS))
    stands = masks.causal != "none" or masks.window != (None, None)
    offsets = np.zeros(2, int) if masks.query_offsets is None else np.array(masks.query_offsets)
    if masks.causal == "lower_right":
        offsets = request.mask.kv_lengths - request.mask.query_lengths

    analysed = result_of(engine, request).head_analysis

    weights = result_of(engine, replace(request, outputs=_ALL_WEIGHTS)).weights
    assert weights is not None
    measured = head_measures(
        weights,
        in_sight=masks.allowed(2, 600, 700),
        places=offsets[:, None] + np.arange(600) if stands else None,
        query_lengths=request.mask.query_lengths.tolist(),
        real_keys=masks.key_mask,
        relations={"drawn": [(b, q, k) for b, q, k in _PAIRS.tolist()]},
    )
    check_same(analysed, measured)


@pytest.mark.parametrize("name", ["rotary", "biased", "whole"])
def test_a_model_of_any_kind_is_analysed_alike_in_one_block_and_in_many(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    engine = Engine(runtime)
    engine.load(described(name), MODELS[name].files)
    made = made_request(name)
    request = replace(
        made,
        mask=Mask(kv_lengths=np.array([6, 3, 0]), query_lengths=np.array([4, 4, 4])),
        settings=replace(made.settings, causal="lower_right"),
        outputs=Outputs(output=False, analysis={}),
    )
    weights = result_of(engine, replace(request, outputs=_ALL_WEIGHTS)).weights
    at_once = result_of(engine, request).head_analysis
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 1)
    monkeypatch.setattr(blocks, "FAST_SCORES", 1)
    monkeypatch.setattr(blocks, "_ROWS_WORTH_A_PRODUCT", 1)
    in_blocks = result_of(engine, request).head_analysis

    assert weights is not None
    measured = head_measures(
        weights,
        in_sight=weights > 0,  # of so few keys none gets less than float32 has
        places=places(request.mask, request.settings, np.arange(4)),
        query_lengths=request.mask.query_lengths.tolist(),
        real_keys=np.arange(request.kv_len) < request.mask.kv_lengths[:, None],
    )
    check_same(at_once, measured)
    check_same(in_blocks, measured)


def test_a_caller_who_left_is_noticed_between_blocks(engine: Engine) -> None:
    request = attend_request(_LONG, Masks(causal="upper_left"), Options(outputs=_ANALYSIS))
    seen: list[None] = []

    def leaves_after_one() -> None:
        seen.append(None)
        if len(seen) == 2:
            raise Abandoned

    (answer,) = engine.run([Task(request, leaves_after_one)])

    assert isinstance(answer, Abandoned)
