"""The engine: each request has its own answer, the same however it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_server.domain.errors import Abandoned, DeadlinePassed
from attention_server.domain.limits import answer_shapes
from attention_server.domain.model import SDPA, Model
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Outputs,
    Rows,
    Sizes,
    Task,
    WeightRows,
)
from attention_server.engine import attention
from attention_server.engine.blocks import blocks
from attention_server.engine.engine import Engine
from attention_server.engine.providers import CPU
from attention_service.reasons import Reason
from attention_service.reference import Projections, multi_head_attention
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.domain.strategies import dims_and_masks
from tests.unit.server.engine.answers import answers_of, reason_of, result_of, wanted
from tests.unit.server.engine.stages import DIMS, MODEL, layer_request

_EVERYTHING = Outputs(
    weights=WeightRows(), scores=Rows(), projections=True, head_outputs=True, log_sum_exp=True
)


def test_a_layer_gives_what_its_projections_say(engine: Engine, projections: Projections) -> None:
    request = layer_request(masks=Masks(causal="upper_left"), options=Options(_EVERYTHING))

    result = result_of(engine, request)

    output, inside = multi_head_attention(
        request.query,
        request.key,
        request.value,
        projections,
        num_heads=DIMS.heads,
        num_kv_heads=DIMS.kv_heads,
        allowed=Masks(causal="upper_left").allowed(DIMS.batch, DIMS.query_len, DIMS.kv_len),
    )
    expected: dict[str, Any] = {"output": output, **inside._asdict()}
    for name, right in expected.items():
        assert np.allclose(result.tensors()[name], right, rtol=0, atol=1e-6), name


@pytest.mark.parametrize(
    ("masks", "options", "path"),
    [
        (Masks(), Options(), "fast_unmasked"),
        (Masks(causal="upper_left"), Options(), "fast"),
        (Masks(), Options(Outputs(weights=WeightRows())), "fast_unmasked_weights"),
        (Masks(kv_lengths=[1, 2]), Options(Outputs(weights=WeightRows())), "fast_weights"),
        (Masks(), Options(Outputs(scores=Rows())), "full"),
        (Masks(), Options(Outputs(log_sum_exp=True)), "full"),
        (Masks(), Options(softcap=5.0), "full_softcap"),
    ],
)
def test_an_answer_tells_the_provider_and_the_path(
    engine: Engine, masks: Masks, options: Options, path: str
) -> None:
    execution = result_of(engine, attend_request(masks=masks, options=options)).execution

    assert (execution.provider, execution.path) == (CPU, path)


def test_the_same_request_gives_the_same_bits(engine: Engine) -> None:
    request = layer_request(options=Options(_EVERYTHING))

    first, second = (answer for answer in answers_of(engine, request, request))

    assert isinstance(first, AttendResult)
    assert isinstance(second, AttendResult)
    for name, tensor in first.tensors().items():
        assert np.array_equal(tensor, second.tensors()[name]), name


@st.composite
def _outputs(draw: st.DrawFn, dims: Dims) -> Outputs:
    def indices(size: int) -> Any:
        some = st.lists(st.integers(0, size - 1), min_size=1, max_size=5)
        return draw(st.none() | some.map(partial(np.array, dtype=np.intp)))

    heads, queries = indices(dims.heads), indices(dims.query_len)
    weights = WeightRows(heads, queries, draw(st.booleans()), draw(st.integers(0, dims.kv_len)))
    return Outputs(
        output=draw(st.booleans()),
        weights=draw(st.sampled_from([None, weights])),
        scores=draw(st.sampled_from([None, Rows(heads, queries)])),
        projections=draw(st.booleans()),
        head_outputs=draw(st.booleans()),
        log_sum_exp=draw(st.booleans()),
    )


@given(drawn=dims_and_masks(), data=st.data(), model=st.sampled_from([SDPA, MODEL]))
def test_an_answer_has_the_shapes_that_admission_counted(
    engine: Engine, drawn: tuple[Dims, Masks], data: st.DataObject, model: Model
) -> None:
    dims, masks = drawn
    if model is MODEL:
        dims, masks = replace(DIMS, batch=dims.batch, kv_len=dims.kv_len), Masks()
    options = Options(data.draw(_outputs(dims)))
    build: Callable[..., AttendRequest] = layer_request if model is MODEL else attend_request
    request = build(dims, masks, options)
    widths = (request.query.shape[2], request.key.shape[2], request.value.shape[2])
    sizes = Sizes(dims.batch, dims.query_len, dims.kv_len, *widths)

    tensors = result_of(engine, request).tensors()

    expected = answer_shapes(request.outputs, request.settings, model, sizes)
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected


@pytest.mark.parametrize("limit", [1, 5, 12, 20, 35, 60, 100, 119])
@pytest.mark.parametrize(
    ("masks", "options"),
    [
        (Masks(), Options(_EVERYTHING)),
        (Masks(causal="upper_left", kv_lengths=[5, 3]), Options()),
        (Masks(causal="lower_right", kv_lengths=[5, 0]), Options(_EVERYTHING, softcap=2.0)),
        (Masks(window=(1, 1)), Options(replace(_EVERYTHING, output=False), ablated_heads=(1, 3))),
        (
            Masks(key_mask=[[True, False, True, True, False]] * 2),
            Options(Outputs(weights=WeightRows(np.array([3, 0]), np.array([2, 0, 0]), True))),
        ),
        (
            Masks(window=(1, None), causal="upper_left"),
            Options(Outputs(weights=WeightRows(top_k=3), scores=Rows(np.array([2])))),
        ),
    ],
    ids=["everything", "masked", "softcap", "ablated", "mean of some", "largest"],
)
def test_an_answer_does_not_depend_on_the_size_of_blocks(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    masks: Masks,
    options: Options,
    limit: int,
) -> None:
    request = attend_request(Dims(), masks, options)  # 2 * 4 * 3 * 5 scores
    whole = result_of(engine, request)

    monkeypatch.setattr(attention, "blocks", partial(blocks, limit=limit))
    in_blocks = result_of(engine, request)

    assert in_blocks.fully_masked_rows == whole.fully_masked_rows
    assert in_blocks.tensors().keys() == whole.tensors().keys()
    for name, tensor in whole.tensors().items():
        assert np.allclose(in_blocks.tensors()[name], tensor, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("limit", [20, 120], ids=["in blocks", "at once"])
def test_ablated_heads_give_zeros_and_the_others_what_they_gave(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(attention, "blocks", partial(blocks, limit=limit))
    outputs = Outputs(head_outputs=True)
    plain = result_of(engine, layer_request(options=Options(outputs))).tensors()

    request = layer_request(options=Options(outputs, ablated_heads=(3, 0, 3)))
    ablated = result_of(engine, request).tensors()

    assert not ablated["head_outputs"][:, [0, 3]].any()
    assert np.array_equal(ablated["head_outputs"][:, [1, 2]], plain["head_outputs"][:, [1, 2]])
    assert not np.allclose(ablated["output"], plain["output"])


def test_a_key_is_in_sight_however_low_its_bias(engine: Engine) -> None:
    bias = np.array([0.0, -np.inf, -3e38, 0.0, -1e30], np.float32)[None, None, None]
    options = Options(Outputs(weights=WeightRows(top_k=5)))
    request = attend_request(Dims(), Masks(attn_bias=bias), options)

    indices = result_of(engine, request).weight_key_indices

    assert indices is not None
    assert {tuple(sorted(row)) for row in indices.reshape(-1, 5).tolist()} == {(-1, 0, 2, 3, 4)}
    assert {tuple(row[2:]) for row in indices.reshape(-1, 5).tolist()} == {(2, 4, -1)}


def test_a_caller_who_left_is_noticed_between_blocks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "blocks", partial(blocks, limit=20))
    seen: list[None] = []

    def leaves_after_two_blocks() -> None:
        seen.append(None)
        if len(seen) == 3:
            raise Abandoned

    (answer,) = engine.run([Task(attend_request(Dims()), leaves_after_two_blocks)])

    assert isinstance(answer, Abandoned)
    assert len(seen) == 3


def test_requests_are_answered_in_order_and_one_that_is_refused_costs_no_other(
    engine: Engine,
) -> None:
    good, other = attend_request(seed=1), layer_request(seed=2)
    overflowing = attend_request(spread=1e30)

    def too_late() -> None:
        raise DeadlinePassed

    first, refused, late, last = engine.run(
        [
            Task(good, wanted),
            Task(overflowing, wanted),
            Task(good, too_late),
            Task(other, wanted),
        ]
    )

    assert reason_of(refused) is Reason.SCORE_OVERFLOW
    assert reason_of(late) is Reason.DEADLINE_EXCEEDED
    for answer, request in ((first, good), (last, other)):
        assert isinstance(answer, AttendResult)
        assert np.array_equal(
            answer.tensors()["output"], result_of(engine, request).tensors()["output"]
        )


def test_each_answer_comes_as_it_is_done(engine: Engine) -> None:
    answers = engine.run([Task(attend_request(), wanted), Task(attend_request(), _never)])

    assert isinstance(next(answers), AttendResult)


def _never() -> None:
    raise AssertionError("the second request was begun before the first was answered")
