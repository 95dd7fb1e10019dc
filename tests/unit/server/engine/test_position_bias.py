"""What the distance adds to the scores: block by block, as little as it can be, never too much."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, load_model_from_string, numpy_helper

from attention_server.domain.request import AttendRequest, Outputs, Rows, WeightRows
from attention_server.engine import attention
from attention_server.engine.blocks import blocks
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import Runtime
from attention_server.engine.session import Session
from attention_service.manifest import POSITION_BIAS_FILE
from attention_service.reasons import Reason
from tests.made_models import MODELS
from tests.node_by_node import position_bias
from tests.unit.server.engine.answers import answers_of, reason_of, result_of
from tests.unit.server.engine.made import BATCH, KV_LEN, QUERY_LEN, described, made_request

LARGEST = float(np.finfo(np.float32).max)
BIASED = MODELS["biased"]


def engine_with(runtime: Runtime, table: NDArray[Any]) -> Engine:
    """Returns an engine whose model "biased" has other biases."""
    engine = Engine(runtime)
    engine.load(described("biased"), {**BIASED.files, **position_bias(table.astype(np.float32))})
    return engine


def weights_of(engine: Engine, request: AttendRequest) -> NDArray[np.float32]:
    weights = result_of(engine, request).weights
    assert weights is not None
    return weights


@pytest.fixture(scope="module")
def biased(runtime: Runtime) -> Engine:
    engine = Engine(runtime)
    engine.load(described("biased"), BIASED.files)
    return engine


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, tuple[int, ...]]]:
    """Shapes of what the graph of the bias is given, run by run."""
    seen: list[dict[str, tuple[int, ...]]] = []
    run = Session.run

    def spied(session: Session, outputs: Any, inputs: Any) -> Any:
        if "position_bias" in outputs:
            seen.append({name: tensor.shape for name, tensor in inputs.items()})
        return run(session, outputs, inputs)

    monkeypatch.setattr(Session, "run", spied)
    return seen


def each(positions: NDArray[Any]) -> NDArray[np.int32]:
    """Returns the same positions for every sequence, each its own row."""
    return np.tile(positions, (BATCH, 1)).astype(np.int32)


@pytest.mark.parametrize(
    ("queries", "keys", "rows"),
    [
        (np.arange(QUERY_LEN)[None], np.arange(KV_LEN)[None], 1),
        (each(np.arange(QUERY_LEN)), each(np.arange(KV_LEN)), 1),
        (each(np.arange(QUERY_LEN)) + np.array([[0], [1], [0]]), np.arange(KV_LEN)[None], BATCH),
        (np.arange(QUERY_LEN)[None], each(np.arange(KV_LEN)) * [[1], [1], [2]], BATCH),
    ],
    ids=["one row", "equal rows", "queries differ", "keys differ"],
)
def test_bias_of_sequences_with_the_same_positions_is_computed_once(
    biased: Engine,
    runs: list[dict[str, tuple[int, ...]]],
    queries: NDArray[Any],
    keys: NDArray[Any],
    rows: int,
) -> None:
    request = made_request(
        "biased", query_positions=queries.astype(np.int32), key_positions=keys.astype(np.int32)
    )

    weights = weights_of(biased, request)

    assert runs == [
        {"query_positions": (rows, QUERY_LEN), "key_positions": (rows, KV_LEN), "heads": (4,)}
    ]
    expected = BIASED.expected(
        request.query,
        request.key,
        query_positions=np.broadcast_to(queries, (BATCH, QUERY_LEN)),
        key_positions=np.broadcast_to(keys, (BATCH, KV_LEN)),
    )
    assert np.allclose(weights, expected["weights"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 6, 13, 24, 50, 287])
def test_a_block_has_the_bias_of_its_own_sequences_queries_and_heads(
    biased: Engine,
    runs: list[dict[str, tuple[int, ...]]],
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
) -> None:
    positions = np.random.default_rng(0).integers(0, 9, (2, BATCH, KV_LEN)).astype(np.int32)
    request = made_request(
        "biased",
        query_positions=positions[0, :, :QUERY_LEN],
        key_positions=positions[1],
        outputs=Outputs(weights=WeightRows(), scores=Rows(), log_sum_exp=True),
    )
    whole = result_of(biased, request)

    monkeypatch.setattr(attention, "blocks", partial(blocks, limit=limit))
    in_blocks = result_of(biased, request)

    assert len(runs) > 2
    for name, tensor in whole.tensors().items():
        assert np.allclose(in_blocks.tensors()[name], tensor, rtol=1e-6, atol=1e-6), name
    for run in runs[1:]:
        pairs = run["heads"][0] * run["query_positions"][1] * KV_LEN
        assert run["query_positions"][0] * pairs <= max(limit, KV_LEN)


def test_queries_before_the_first_key_do_not_overflow_their_distance(biased: Engine) -> None:
    # They see nothing; their distance to the last position would leave 32 bits, and wrap around.
    request = made_request("biased", key_positions=np.full((1, KV_LEN), 2**31 - 1, np.int32))
    before = replace(request, query_positions=np.array([[-2, -1, 0, 1]], np.int32))
    at_0 = replace(request, query_positions=np.array([[0, 0, 0, 1]], np.int32))

    assert np.array_equal(weights_of(biased, before), weights_of(biased, at_0))


def with_bias(low: float, **fields: Any) -> AttendRequest:
    """Returns a request with this bias on every other key, and none that may be seen elsewhere."""
    bias = np.where(np.arange(KV_LEN) % 2, -np.inf, low).astype(np.float32)[None, None, None]
    request = made_request("biased", **fields)
    return replace(request, mask=replace(request.mask, attn_bias=bias))


@pytest.mark.parametrize("bias", [0.0, 1e30, -1e30, LARGEST / 3, -LARGEST / 3])
def test_forbidden_keys_stay_so_whatever_the_distance_adds(
    runtime: Runtime, biased: Engine, bias: float
) -> None:
    engine = engine_with(runtime, np.full((4, 7), LARGEST / 3))

    weights = weights_of(engine, with_bias(bias))

    assert not weights[..., 1::2].any()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize(
    ("added", "own", "reason"),
    [
        (0.7, 0.7, Reason.SCORE_OVERFLOW),
        (-0.7, -0.7, Reason.SCORE_OVERFLOW),
        (0.7, 0.4, Reason.SCORE_OVERFLOW),
        (0.4, 0.7, Reason.SCORE_OVERFLOW),
        (0.7, 0.2, None),
        (0.7, -0.7, None),
        (0.7, 0.0, None),
    ],
)
def test_biases_are_refused_where_their_sum_leaves_float32_and_not_before(
    runtime: Runtime, added: float, own: float, reason: Reason | None
) -> None:
    engine = engine_with(runtime, np.full((4, 7), added * LARGEST))

    (answer,) = answers_of(engine, with_bias(own * LARGEST))

    assert reason_of(answer) is reason


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_bias_of_a_model_that_is_not_finite_is_refused_where_it_is_met(
    runtime: Runtime, wrong: float
) -> None:
    table = np.zeros((4, 101))
    table[:, 0] = wrong  # far from the positions that it is tried with
    engine = engine_with(runtime, table)
    near = made_request("biased")
    far = replace(near, query_positions=np.array([[0, 1, 2, 50]], np.int32))

    fine, refused = answers_of(engine, near, far)

    assert (reason_of(fine), reason_of(refused)) == (None, Reason.SCORE_OVERFLOW)


def test_bias_whose_size_depends_on_positions_is_found_where_it_is_met(runtime: Runtime) -> None:
    model = load_model_from_string(BIASED.files[POSITION_BIAS_FILE])
    (transpose,) = (node for node in model.graph.node if "position_bias" in node.output)
    transpose.output[0] = "right"
    for name, number in (("none", 0), ("far", 50), ("axis", 2)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["query_positions"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["last"], to=TensorProto.INT64),
            helper.make_node("Sub", ["far", "last"], ["queries_left"]),
            helper.make_node("Slice", ["right", "none", "queries_left", "axis"], ["position_bias"]),
        ]
    )
    engine = Engine(runtime)
    engine.load(
        described("biased"), {**BIASED.files, POSITION_BIAS_FILE: model.SerializeToString()}
    )
    far = made_request("biased", query_positions=np.array([[0, 1, 2, 49]], np.int32))

    with pytest.raises(ModelUnusable, match=r"says position_bias \[1, 4, 4, 6\], but it gives"):
        result_of(engine, far)
