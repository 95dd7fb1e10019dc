"""Models that come whole: cut between sequences alone, and looked at as what comes from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper, load_model_from_string, numpy_helper

from attention_server.domain.errors import Abandoned
from attention_server.domain.request import AttendResult, Outputs, Task, WeightRows
from attention_server.engine import blocks
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import Runtime
from attention_service.manifest import MODEL_FILE
from attention_service.reasons import Reason
from tests.made_models import HEADS, MODELS
from tests.unit.server.engine.answers import answers_of, reason_of, result_of
from tests.unit.server.engine.made import BATCH, KV_LEN, QUERY_LEN, described, made_request

GRAPH = MODELS["whole"].files[MODEL_FILE]
PAIRS = HEADS * QUERY_LEN * KV_LEN


@pytest.fixture(scope="module")
def engine(runtime: Runtime) -> Engine:
    engine = Engine(runtime)
    engine.load(described("whole"), MODELS["whole"].files)
    return engine


def changed(output: str, *steps: tuple[str, Any]) -> dict[str, bytes]:
    """Returns the model, but that an output goes through these operators, each with a constant."""
    model = load_model_from_string(GRAPH)
    graph = model.graph
    for node in graph.node:
        for names in (node.output, node.input):
            for i, name in enumerate(names):
                if name == output:
                    names[i] = f"{output}_0"
    for i, (operator, constant) in enumerate(steps):
        name = f"{output}_constant_{i}"
        graph.initializer.append(numpy_helper.from_array(np.asarray(constant), name))
        inputs = [f"{output}_{i}", name]
        target = output if i + 1 == len(steps) else f"{output}_{i + 1}"
        graph.node.append(helper.make_node(operator, inputs, [target]))
    return {MODEL_FILE: model.SerializeToString()}


@pytest.mark.parametrize(
    ("limit", "sequences"), [(1, [1, 1, 1]), (PAIRS * 2, [2, 1]), (PAIRS * 3, [3]), (1 << 22, [3])]
)
def test_as_many_sequences_are_computed_together_as_a_block_holds(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: int, sequences: list[int]
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SCORES", limit)
    looked: list[None] = []

    (answer,) = engine.run([Task(made_request("whole"), lambda: looked.append(None))])

    assert isinstance(answer, AttendResult)
    assert len(looked) == len(sequences)


def test_a_caller_who_left_is_noticed_between_sequences(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 1)
    seen: list[None] = []

    def leaves_after_one() -> None:
        seen.append(None)
        if len(seen) == 2:
            raise Abandoned

    (answer,) = engine.run([Task(made_request("whole"), leaves_after_one)])

    assert isinstance(answer, Abandoned)
    assert len(seen) == 2 < BATCH


@pytest.mark.parametrize("limit", [1, 1 << 22], ids=["in blocks", "at once"])
def test_weights_are_selected_as_of_any_model(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    everything = result_of(engine, made_request("whole")).weights
    monkeypatch.setattr(blocks, "BLOCK_SCORES", limit)
    rows = WeightRows(np.array([3, 0]), np.array([2, 0, 0]), average_heads=True, top_k=2)
    request = made_request("whole", outputs=Outputs(output=False, weights=rows))

    result = result_of(engine, request)

    assert everything is not None
    mean = everything[:, [3, 0]][:, :, [2, 0, 0]].mean(axis=1, keepdims=True)
    assert result.output is None
    assert result.weights is not None
    assert np.allclose(result.weights, np.sort(mean)[..., :-3:-1], rtol=0, atol=1e-6)


def test_rows_that_see_nothing_are_counted_and_zero(engine: Engine) -> None:
    request = made_request("whole")
    attend = np.ones((1, 1, QUERY_LEN, KV_LEN), bool)
    attend[:, :, 1] = False
    mask = replace(request.mask, attend_mask=attend, query_lengths=np.array([4, 1, 2]))

    result = result_of(engine, replace(request, mask=mask))

    assert result.fully_masked_rows == 2 * HEADS
    assert result.weights is not None
    assert result.output is not None
    assert not result.weights[:, :, 1].any()
    assert not result.output[:, 1].any()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed("output", ("Mul", np.ones((1, 1, 1, 1), np.float32))), r"says output \[1, 2, 6\]"),
        (
            changed("output", ("Gather", np.array([0]))),
            r"says output \[2, 3, 6\], but it gives \[1",
        ),
        (
            changed("weights", ("ReduceSum", np.array([1]))),
            r"says weights \[1, 4, 2, 3\], but it gives \[1, 1, 2, 3\]",
        ),
        (
            changed("weights", ("Mul", np.float32(0)), ("Add", np.float32(1 / 3))),
            "gives weight to keys that attend_mask forbids",
        ),
        (changed("weights", ("Mul", np.float32(0.9))), "weights that do not sum to 1"),
        (changed("weights", ("Mul", np.float32(3e38))), "weights that do not sum to 1"),
        (changed("output", ("Add", np.float32(0.1))), "output is not 0 where attend_mask forbids"),
        (changed("weights", ("Mul", np.float32(-1))), "gives attention weights below 0"),
        (changed("weights", ("Div", np.float32(0))), "an attention weight overflows float32"),
        (changed("output", ("Div", np.float32(0))), "the output overflows float32"),
        ({MODEL_FILE: b"no ONNX"}, "ONNX Runtime does not run it"),
        (MODELS["output-only"].files, "ONNX Runtime does not run it"),
    ],
    ids=[
        "another rank",
        "one sequence",
        "one head",
        "weight out of sight",
        "weights too small",
        "weights too large",
        "output of no key",
        "weights below 0",
        "weights not finite",
        "output not finite",
        "no ONNX",
        "no weights",
    ],
)
def test_graph_that_is_no_attention_is_not_taken(
    engine: Engine, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ModelUnusable, match=message):
        engine.load(described("whole"), files)


@pytest.mark.parametrize(
    "blind", [{"logits"}, {"logits", "weights"}], ids=["in its softmax", "at all"]
)
def test_graph_that_does_not_obey_its_mask_is_not_taken_though_it_gives_no_weights(
    engine: Engine, blind: set[str]
) -> None:
    model = load_model_from_string(MODELS["output-only"].files[MODEL_FILE])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "everything"))
    for node in model.graph.node:
        if blind.intersection(node.output):
            node.input[0] = "everything"

    with pytest.raises(ModelUnusable, match="output changes with keys that attend_mask forbids"):
        engine.load(described("output-only"), {MODEL_FILE: model.SerializeToString()})


def _forbids_by_a_low_score() -> dict[str, bytes]:
    """Returns the model, but that it subtracts 1,000 from what attend_mask forbids."""
    model = load_model_from_string(GRAPH)
    graph = model.graph
    lowest = next(node for node in graph.node if "lowest" in node.output)
    lowest.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(-1000, np.float32)))
    for node in graph.node:
        for names in (node.output, node.input):
            if "weights" in names:
                names[list(names).index("weights")] = "right_weights"
    graph.node.append(helper.make_node("Mul", ["softmax", "sees"], ["weights"]))
    return {MODEL_FILE: model.SerializeToString()}


def test_weight_out_of_sight_is_found_where_only_some_requests_bring_it(runtime: Runtime) -> None:
    engine = Engine(runtime)
    engine.load(described("whole"), _forbids_by_a_low_score())
    request = made_request("whole", settings=described("whole").defaults)
    request = replace(request, mask=replace(request.mask, kv_lengths=np.array([3, 3, 3])))
    large = replace(request, query=1e4 * request.query)

    (small,) = answers_of(engine, request)

    assert isinstance(small, AttendResult)
    with pytest.raises(ModelUnusable, match="gives weight to keys that attend_mask forbids"):
        result_of(engine, large)


def test_weights_of_minus_zero_are_weights_of_zero(runtime: Runtime) -> None:
    engine = Engine(runtime)
    # -w, of which only what is not 0 changes its sign again.
    minus_zero = changed("weights", ("Mul", np.float32(-1)), ("PRelu", np.array([-1], np.float32)))
    engine.load(described("whole"), minus_zero)
    request = made_request("whole", outputs=Outputs(weights=WeightRows(top_k=KV_LEN)))

    indices = result_of(engine, replace(request, query=1e4 * request.query)).weight_key_indices

    assert indices is not None
    assert (np.sort(indices) == np.arange(KV_LEN)).all()


def test_output_that_float32_cannot_hold_is_refused(engine: Engine) -> None:
    request = made_request("whole")
    large = np.full_like(request.key, 3e38)

    (answer,) = answers_of(engine, replace(request, value=large))

    assert reason_of(answer) is Reason.VALUE_OVERFLOW
