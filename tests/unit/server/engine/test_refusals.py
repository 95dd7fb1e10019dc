"""Requests whose scores or values float32 cannot hold are refused; others are answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attention_server.domain.request import AttendRequest, Outputs, WeightRows
from attention_server.engine.engine import Engine
from attention_service.reasons import Reason
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.engine.answers import answers_of, reason_of, result_of
from tests.unit.server.engine.stages import layer_request

_LARGE = float(np.finfo(np.float32).max) * 0.99


@pytest.mark.parametrize(
    "request_",
    [
        attend_request(spread=1e20),
        attend_request(options=Options(scale=1e38), spread=100.0),
        attend_request(
            masks=Masks(attn_bias=np.full((1, 1, 1, 5), _LARGE, np.float32)), spread=3e18
        ),
        attend_request(options=Options(softcap=1.0), spread=1e20),
        attend_request(masks=Masks(kv_lengths=[0, 0]), spread=1e20),
        layer_request(spread=1e38),
    ],
    ids=["scores", "scale", "bias", "before the softcap", "behind a mask", "projected heads"],
)
def test_scores_beyond_float32_are_refused(engine: Engine, request_: AttendRequest) -> None:
    (answer,) = answers_of(engine, request_)

    assert reason_of(answer) is Reason.SCORE_OVERFLOW


@pytest.mark.parametrize("largest", [1e18, 1e19])
def test_scores_that_only_might_overflow_are_looked_at_and_answered(
    engine: Engine, largest: float
) -> None:
    # The bound on the scores is over float32, the scores are not: query and key are orthogonal.
    request = attend_request(Dims(batch=1, heads=1, kv_heads=1, head_dim=2, query_len=1))
    query = np.array([[[largest, 0.0]]], np.float32)
    key = np.repeat(np.array([[[0.0, largest]]], np.float32), 5, axis=1)
    request = replace(request, query=query, key=key, outputs=Outputs(weights=WeightRows()))

    weights = result_of(engine, request).weights

    assert weights is not None
    assert weights.tolist() == np.full((1, 1, 1, 5), 0.2, np.float32).tolist()


def _layer_values(largest: float) -> AttendRequest:
    request = layer_request()
    return replace(request, value=np.full_like(request.value, largest))


@pytest.mark.parametrize(
    ("outputs", "what"),
    [
        (Outputs(), "the output"),
        (Outputs(output=False, head_outputs=True), "a head output"),
        (Outputs(output=False, projections=True), "a projected value"),
    ],
)
def test_values_beyond_float32_are_refused_where_they_are_wanted(
    engine: Engine, outputs: Outputs, what: str
) -> None:
    (answer,) = answers_of(engine, replace(_layer_values(3e38), outputs=outputs))

    assert reason_of(answer) is Reason.VALUE_OVERFLOW
    assert str(answer).startswith(f"{what} overflows float32")


def test_values_beyond_float32_do_not_matter_where_only_weights_are_wanted(
    engine: Engine,
) -> None:
    outputs = Outputs(output=False, weights=WeightRows())

    result = result_of(engine, replace(_layer_values(3e38), outputs=outputs))

    plain = result_of(engine, replace(_layer_values(1.0), outputs=outputs))
    assert np.array_equal(result.tensors()["weights"], plain.tensors()["weights"])
