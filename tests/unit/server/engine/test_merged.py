"""Small requests for the output alone: one graph gives what the stages give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from attention_server.domain.errors import Abandoned
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Float32Array,
    Outputs,
    Rows,
    Task,
    WeightRows,
)
from attention_server.engine import engine as engine_module
from attention_server.engine import merged, merged_graph
from attention_server.engine.engine import Engine
from attention_server.engine.merged_graph import merged_graph as graph_of
from attention_server.engine.providers import Runtime
from attention_service.manifest import STAGE_FILES
from attention_service.reasons import Reason
from attention_service.reference import Projections
from tests.made_models import MODELS
from tests.unit.server.attend_requests import Dims, Masks, Options
from tests.unit.server.engine.answers import answers_of, reason_of, result_of
from tests.unit.server.engine.made import described, made_request
from tests.unit.server.engine.stages import DIMS, MODEL, layer_request, mergeable, stages


def _path(engine: Engine, request: AttendRequest) -> str:
    return result_of(engine, request).execution.path


def _in_stages(engine: Engine, request: AttendRequest) -> AttendResult:
    """Returns what the stages give, by asking for more than the graph can."""
    return result_of(engine, replace(request, outputs=Outputs(head_outputs=True)))


def _output(result: AttendResult) -> Float32Array:
    assert result.output is not None
    return result.output


@pytest.mark.parametrize(
    "masks",
    [
        Masks(),
        Masks(causal="upper_left"),
        Masks(causal="lower_right", kv_lengths=[5, 1], query_lengths=[3, 2]),
        Masks(window=(1, 0), query_offsets=[4, 20]),
        Masks(kv_lengths=[0, 3]),
        Masks(key_mask=np.array([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1]], bool)),
        Masks(attend_mask=np.tril(np.ones((1, 4, 3, 5), bool), -1)),
    ],
    ids=["none", "causal", "lengths", "window", "nothing in sight", "keys", "pairs"],
)
def test_one_graph_gives_what_the_stages_give(merging_engine: Engine, masks: Masks) -> None:
    request = layer_request(masks=masks)

    result, expected = result_of(merging_engine, request), _in_stages(merging_engine, request)

    assert result.execution.path == "merged"
    assert expected.execution.path != "merged"
    assert np.allclose(_output(result), _output(expected), rtol=0, atol=1e-6)
    assert result.fully_masked_rows == expected.fully_masked_rows


def test_positions_reach_the_graph(runtime: Runtime) -> None:
    engine, rotary = Engine(runtime), described("rotary")
    engine.load(
        replace(rotary, defaults=replace(rotary.defaults, softcap=0.0)),
        mergeable(MODELS["rotary"].files),
    )
    request = made_request(
        "rotary",
        outputs=Outputs(),
        query_positions=np.array([[3, 1, 4, 1]], np.int32),
        key_positions=np.array([[5, 9, 2, 6, 5, 3]], np.int32),
    )

    result = result_of(engine, request)

    assert result.execution.path == "merged"
    assert np.allclose(_output(result), _output(_in_stages(engine, request)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "request_",
    [
        layer_request(options=Options(Outputs(weights=WeightRows()))),
        layer_request(options=Options(Outputs(scores=Rows()))),
        layer_request(options=Options(Outputs(output=False, head_outputs=True))),
        layer_request(options=Options(Outputs(projections=True))),
        layer_request(options=Options(Outputs(log_sum_exp=True))),
        layer_request(options=Options(softcap=5.0)),
        layer_request(options=Options(ablated_heads=(0,))),
        layer_request(masks=Masks(attn_bias=np.zeros((1, 1, 3, 5), np.float32))),
    ],
    ids=["weights", "scores", "heads", "projections", "sums", "softcap", "ablation", "bias"],
)
def test_what_asks_for_more_takes_the_stages(
    merging_engine: Engine, request_: AttendRequest
) -> None:
    assert _path(merging_engine, request_) != "merged"


@pytest.mark.parametrize(("most", "path"), [(120, "merged"), (119, "fast_unmasked")])
def test_what_is_large_takes_the_stages(
    merging_engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int, path: str
) -> None:
    monkeypatch.setattr(merged, "_MOST_SCORES", most)

    assert _path(merging_engine, layer_request(replace(DIMS, batch=2, query_len=3))) == path


@pytest.mark.parametrize(
    ("spread", "reason"), [(1e25, Reason.SCORE_OVERFLOW), (3e38, Reason.SCORE_OVERFLOW)]
)
def test_what_overflows_is_refused_as_the_stages_refuse_it(
    merging_engine: Engine, spread: float, reason: Reason
) -> None:
    with np.errstate(over="ignore"):
        request = layer_request(spread=spread)
    finite = {
        name: np.clip(getattr(request, name), -3e38, 3e38) for name in ("query", "key", "value")
    }

    (answer,) = answers_of(merging_engine, replace(request, **finite))

    assert reason_of(answer) is reason


def test_scores_that_only_might_overflow_are_looked_at(merging_engine: Engine) -> None:
    request = layer_request()
    large = replace(request, query=request.query * 0 + 1e18, key=request.key * 1e19)

    (answer,) = answers_of(merging_engine, large)

    assert reason_of(answer) is None
    assert isinstance(answer, AttendResult)
    assert answer.execution.path == "full"


def test_a_value_that_overflows_is_refused(merging_engine: Engine) -> None:
    request = layer_request()
    value = np.sign(request.value) * np.float32(3e38)

    (answer,) = answers_of(merging_engine, replace(request, value=value))

    assert reason_of(answer) is Reason.VALUE_OVERFLOW


def test_who_left_is_not_computed(merging_engine: Engine) -> None:
    def gone() -> None:
        raise Abandoned

    (answer,) = merging_engine.run([Task(layer_request(), gone)])

    assert isinstance(answer, Abandoned)


def _other_operators(files: dict[str, bytes]) -> dict[str, bytes]:
    model = onnx.load_model_from_string(files[STAGE_FILES[2]])
    model.opset_import[0].version = 22
    return {**files, STAGE_FILES[2]: model.SerializeToString()}


def _with_a_function(files: dict[str, bytes]) -> dict[str, bytes]:
    model = onnx.load_model_from_string(files[STAGE_FILES[2]])
    model.functions.add(name="Unused", domain="own")
    model.opset_import.add(domain="own", version=1)
    return {**files, STAGE_FILES[2]: model.SerializeToString()}


@pytest.mark.parametrize("change", [_other_operators, _with_a_function])
def test_stages_that_cannot_be_merged_are_served_as_they_are(
    runtime: Runtime, projections: Projections, change: Any
) -> None:
    engine = Engine(runtime)

    engine.load(MODEL, change(mergeable(stages(projections))))

    assert _path(engine, layer_request()) == "fast_unmasked"


def test_a_large_layer_is_not_in_memory_once_more(
    runtime: Runtime, projections: Projections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_graph, "_MOST_BYTES", 100)
    engine = Engine(runtime)

    engine.load(MODEL, mergeable(stages(projections)))

    assert _path(engine, layer_request()) == "fast_unmasked"


def test_a_graph_that_gives_something_else_is_not_taken(
    runtime: Runtime, projections: Projections, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = mergeable(stages(projections._replace(w_v=np.asarray(projections.w_v) * 1.01)))
    monkeypatch.setattr(
        engine_module, "merged_graph", lambda _, attention: graph_of(other, attention)
    )
    engine = Engine(runtime)

    engine.load(MODEL, mergeable(stages(projections)))

    assert _path(engine, layer_request(Dims(4, 3, 5, 4, 2))) == "fast_unmasked"
