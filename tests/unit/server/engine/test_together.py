"""Requests computed together: each has the answer that it has alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_server.domain.batch import batch_key
from attention_server.domain.errors import Abandoned, DeadlinePassed
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Float32Array,
    Manner,
    Outputs,
    Rows,
    Task,
    WeightRows,
)
from attention_server.engine import attention
from attention_server.engine.engine import Engine
from attention_server.engine.overflow import largest_position_bias
from attention_server.engine.providers import Runtime
from attention_service.manifest import Causal
from attention_service.reasons import Reason
from tests.made_models import MODELS
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.domain.strategies import masks
from tests.unit.server.engine.answers import reason_of, result_of, wanted
from tests.unit.server.engine.made import described, made_request
from tests.unit.server.engine.stages import DIMS, layer_request

_TOGETHER = Manner(together=True)


def _together(engine: Engine, requests: Sequence[AttendRequest]) -> list[AttendResult | Exception]:
    return list(engine.run([Task(request, wanted) for request in requests], _TOGETHER))


def _assert_as_alone(
    engine: Engine, answer: AttendResult | Exception, request: AttendRequest
) -> None:
    assert isinstance(answer, AttendResult)
    alone = result_of(engine, request)
    tensors, expected = answer.tensors(), alone.tensors()
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].shape == tensor.shape, name
        assert np.allclose(tensors[name], tensor, rtol=1e-6, atol=1e-6), name
    assert answer.fully_masked_rows == alone.fully_masked_rows


@st.composite
def _outputs(draw: st.DrawFn, heads: int) -> Outputs:
    """Returns outputs that requests of any lengths can ask for."""
    rows = (
        draw(st.sampled_from([None, np.array([heads - 1, 0], np.intp)])),
        draw(st.sampled_from([None, np.array([0, 0], np.intp)])),
    )
    weights = WeightRows(*rows, draw(st.booleans()), top_k=draw(st.integers(0, 1)))
    return Outputs(
        output=draw(st.booleans()),
        weights=draw(st.sampled_from([None, weights])),
        scores=draw(st.sampled_from([None, Rows(*rows)])),
        projections=draw(st.booleans()),
        head_outputs=draw(st.booleans()),
        log_sum_exp=draw(st.booleans()),
    )


@st.composite
def _alike(draw: st.DrawFn, *, plain: bool = False) -> list[AttendRequest]:
    """Returns requests that may be joined: alike but for their lengths and what they hold.

    Plain ones are to the layer, and ask for its output.
    """
    projects, to_itself = plain or draw(st.booleans()), draw(st.booleans())
    dims = DIMS if projects else Dims(heads=4, kv_heads=4 if to_itself else 2)
    outputs = Outputs() if plain else draw(_outputs(dims.heads))
    softcap = 0.0 if plain else draw(st.sampled_from([0.0, 5.0]))
    causal: Causal = draw(st.sampled_from(["none", "upper_left", "lower_right"]))
    window = draw(st.sampled_from([(None, None), (1, 0), (0, None), (None, 2)]))
    requests = []
    for seed in range(draw(st.integers(2, 4))):
        query_len, kv_len = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        own = replace(
            dims,
            batch=draw(st.integers(1, 3)),
            query_len=query_len,
            kv_len=query_len if to_itself else kv_len,
        )
        lengths = draw(masks(own))
        said = Masks(
            kv_lengths=lengths.kv_lengths,
            query_lengths=lengths.query_lengths,
            causal=causal,
            window=window,
        )
        build = layer_request if projects else attend_request
        request = build(own, said, Options(outputs, softcap=softcap), seed=seed)
        if to_itself and not projects:
            request = replace(request, key=request.query, value=request.query)
        requests.append(request)
    return requests


@given(requests=_alike())
def test_a_request_has_the_same_answer_whoever_shares_the_batch(
    engine: Engine, requests: list[AttendRequest]
) -> None:
    assert len({batch_key(request) for request in requests} - {None}) == 1

    answers = _together(engine, requests)

    for answer, request in zip(answers, requests, strict=True):
        _assert_as_alone(engine, answer, request)
        assert isinstance(answer, AttendResult)
        assert answer.execution.batched_requests == len(requests)


@given(requests=_alike(plain=True))
def test_in_one_graph_too(merging_engine: Engine, requests: list[AttendRequest]) -> None:
    answers = _together(merging_engine, requests)

    for answer, request in zip(answers, requests, strict=True):
        _assert_as_alone(merging_engine, answer, request)
        assert isinstance(answer, AttendResult)
        assert answer.execution.path == "merged"
        assert answer.execution.batched_requests == len(requests)


@pytest.fixture(scope="module")
def made(runtime: Runtime) -> Engine:
    """An engine with the models that use positions and the one that comes whole."""
    engine = Engine(runtime)
    for name in ("rotary", "biased", "whole"):
        engine.load(described(name), MODELS[name].files)
    return engine


@pytest.mark.parametrize("name", ["rotary", "biased"])
def test_positions_stay_with_their_sequences(made: Engine, name: str) -> None:
    request = made_request(name)
    largest = np.iinfo(np.int32).max
    shorter = replace(
        request,
        query=request.query[:1, :2],
        key=request.key[:1, :4],
        value=request.key[:1, :4],
        mask=replace(request.mask, kv_lengths=np.array([4]), query_lengths=np.array([2])),
        query_positions=np.array([[7, 2]], np.int32),
        key_positions=np.array([[3, 9, 0, largest]], np.int32),
    )
    requests = [request, shorter]

    for answer, own in zip(_together(made, requests), requests, strict=True):
        _assert_as_alone(made, answer, own)
        assert isinstance(answer, AttendResult)
        assert answer.execution.batched_requests == 2


def test_sequences_that_count_alike_share_one_bias(
    made: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = made_request("biased")
    shorter = replace(
        request,
        key=request.key[:, :4],
        value=request.key[:, :4],
        mask=replace(request.mask, kv_lengths=np.full(request.batch, 4)),
        key_positions=np.arange(4, dtype=np.int32)[None],
    )
    added: list[int] = []

    def recorded(bias: Float32Array) -> float:
        added.append(len(bias))
        return largest_position_bias(bias)

    monkeypatch.setattr(attention, "largest_position_bias", recorded)

    _together(made, [request, shorter])

    assert added == [1]


def test_a_request_that_overflows_costs_its_neighbours_nothing(engine: Engine) -> None:
    good, bad = attend_request(seed=1), attend_request(seed=2, spread=1e30)
    assert batch_key(good) == batch_key(bad)

    first, refused, last = _together(engine, [good, bad, good])

    assert reason_of(refused) is Reason.SCORE_OVERFLOW
    for answer in (first, last):
        _assert_as_alone(engine, answer, good)


@pytest.mark.parametrize("reason", [Abandoned, DeadlinePassed])
def test_who_gave_up_is_left_out(
    engine: Engine, reason: type[Abandoned] | type[DeadlinePassed]
) -> None:
    def gone() -> None:
        raise reason

    request, other = attend_request(seed=1), attend_request(seed=2)

    first, left_out, last = engine.run(
        [Task(request, wanted), Task(request, gone), Task(other, wanted)], _TOGETHER
    )

    assert isinstance(left_out, reason)
    _assert_as_alone(engine, first, request)
    _assert_as_alone(engine, last, other)
    assert isinstance(first, AttendResult)
    assert first.execution.batched_requests == 2


def test_where_all_but_one_gave_up_it_runs_alone(engine: Engine) -> None:
    def gone() -> None:
        raise Abandoned

    request = attend_request()

    left_out, answer = engine.run([Task(request, gone), Task(request, wanted)], _TOGETHER)

    assert isinstance(left_out, Abandoned)
    _assert_as_alone(engine, answer, request)


@pytest.mark.parametrize("manner", [Manner(), _TOGETHER])
def test_a_fault_of_ours_in_one_request_fails_no_other(engine: Engine, manner: Manner) -> None:
    request = attend_request()
    faulty = replace(request, key=request.key[..., :-1])  # admission lets no such thing pass

    first, fault, last = engine.run(
        [Task(each, wanted) for each in (request, faulty, request)], manner
    )

    assert isinstance(fault, Exception)
    assert reason_of(fault) is None
    for answer in (first, last):
        _assert_as_alone(engine, answer, request)
