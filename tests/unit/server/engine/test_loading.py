"""Loading a model: what the engine takes, and what is said of what it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model_from_string, numpy_helper

from attention_server.domain.model import Model, ModelKey
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.manifest import MODEL_FILE, POSITION_BIAS_FILE, STAGE_FILES
from attention_service.reference import Projections
from tests.made_models import MODELS
from tests.node_by_node import position_bias
from tests.unit.server.engine.answers import result_of
from tests.unit.server.engine.made import described
from tests.unit.server.engine.stages import MODEL, layer_request, stages


@pytest.mark.parametrize(
    ("model", "files", "message"),
    [
        (MODEL, dict.fromkeys(STAGE_FILES, b"no ONNX"), "ONNX Runtime does not run it"),
        (replace(MODEL, output_dim=9), {}, r"says output \[1, 2, 9\], but it gives \[1, 2, 10\]"),
        (replace(MODEL, query_dim=13), {}, "ONNX Runtime does not run it"),
        (replace(MODEL, head_dim=4), {}, r"says query_heads \[1, 4, 2, 4\], but it gives"),
        (
            replace(MODEL, defaults=replace(MODEL.defaults, num_heads=2)),
            {},
            r"says query_heads \[1, 2, 2, 5\], but it gives",
        ),
        (replace(MODEL, value_head_dim=2), {}, r"says value_heads \[1, 2, 3, 2\], but it gives"),
        (
            replace(MODEL, defaults=replace(MODEL.defaults, scale=3e38)),
            {},
            "overflows float32",
        ),
    ],
    ids=["no ONNX", "output", "query", "head_dim", "heads", "value_head_dim", "scale"],
)
def test_a_model_that_is_not_what_its_manifest_says_is_not_taken(
    engine: Engine,
    projections: Projections,
    model: Model,
    files: Mapping[str, bytes],
    message: str,
) -> None:
    other = replace(model, key=ModelKey("other", "1"))

    with pytest.raises(ModelUnusable, match=message) as unusable:
        engine.load(other, {**stages(projections), **files})

    assert re.search(r"\n|\.cc|\.h:", str(unusable.value)) is None, "it tells of the sources"
    assert math.isfinite(result_of(engine, layer_request()).tensors()["output"].sum())


def _without_heads(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns the model, but that its position bias is that of all heads, whichever are named."""
    model = load_model_from_string(files[POSITION_BIAS_FILE])
    gather = next(node for node in model.graph.node if "heads" in node.input)
    all_heads = numpy_helper.from_array(np.arange(4), "all_heads")
    model.graph.initializer.append(all_heads)
    gather.input[1] = "all_heads"
    return {**files, POSITION_BIAS_FILE: model.SerializeToString()}


def _for_every_head(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns the model, but that it gives the bias of the first named head, for all of them."""
    model = load_model_from_string(files[POSITION_BIAS_FILE])
    (transpose,) = (node for node in model.graph.node if "position_bias" in node.output)
    transpose.output[0] = "of_every_head"
    bounds = {"first": 0, "second": 1, "axis": 1}
    for name, number in bounds.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    first = helper.make_node("Slice", ["of_every_head", *bounds], ["position_bias"])
    model.graph.node.append(first)
    return {**files, POSITION_BIAS_FILE: model.SerializeToString()}


@pytest.mark.parametrize(
    ("model", "files", "message"),
    [
        (
            described("biased"),
            _for_every_head(MODELS["biased"].files),
            r"says position_bias \[1, 4, 2, 3\], but it gives \[1, 1, 2, 3\]",
        ),
        (
            described("biased"),
            _without_heads(MODELS["biased"].files),
            r"says position_bias \[1, 1, 2, 3\], but it gives \[1, 4, 2, 3\]",
        ),
        (
            described("biased"),
            {**MODELS["biased"].files, **position_bias(np.full((4, 3), np.inf, np.float32))},
            "bias of these positions overflows",
        ),
        (
            described("biased"),
            {**MODELS["biased"].files, POSITION_BIAS_FILE: b"no"},
            "does not run",
        ),
        (
            replace(described("biased"), positions="rotary"),
            MODELS["biased"].files,
            "ONNX Runtime does not run it: .*query_positions",
        ),
        (
            replace(described("rotary"), positions="none"),
            MODELS["rotary"].files,
            "ONNX Runtime does not run it: .*query_positions",
        ),
        (
            described("biased"),
            {**MODELS["biased"].files, **position_bias(np.zeros((3, 3), np.float32))},
            "ONNX Runtime does not run it",
        ),
    ],
    ids=[
        "one head for all",
        "all heads",
        "infinite",
        "no ONNX",
        "does not rotate",
        "rotates",
        "too few heads",
    ],
)
def test_model_that_does_not_use_positions_as_it_says_is_not_taken(
    engine: Engine, model: Model, files: Mapping[str, bytes], message: str
) -> None:
    with pytest.raises(ModelUnusable, match=message):
        engine.load(model, files)


_TYPES = {
    "attend_mask": TensorProto.BOOL,
    "query_positions": TensorProto.INT32,
    "heads": TensorProto.INT64,
}


def _with_type(content: bytes, name: str, type_: int) -> bytes:
    """Returns a graph in which an input or output of this name has another type."""
    model = load_model_from_string(content)
    graph, usual = model.graph, f"{name}_as_usual"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [usual if other == name else other for other in names]
    for value in (*graph.input, *graph.output):
        if value.name == name:
            value.type.tensor_type.elem_type = type_
    if any(value.name == name for value in graph.output):
        graph.node.append(helper.make_node("Cast", [usual], [name], to=type_))
    else:
        right = _TYPES.get(name, TensorProto.FLOAT)
        graph.node.insert(0, helper.make_node("Cast", [name], [usual], to=right))
    changed: bytes = model.SerializeToString()
    return changed


@pytest.mark.parametrize(
    ("name", "file", "output", "type_"),
    [
        ("whole", MODEL_FILE, "output", "DOUBLE"),
        ("whole", MODEL_FILE, "output", "FLOAT16"),
        ("whole", MODEL_FILE, "output", "INT64"),
        ("whole", MODEL_FILE, "output", "BOOL"),
        ("whole", MODEL_FILE, "output", "STRING"),
        ("whole", MODEL_FILE, "weights", "DOUBLE"),
        ("biased", STAGE_FILES[1], "value_heads", "DOUBLE"),
        ("biased", POSITION_BIAS_FILE, "position_bias", "DOUBLE"),
        ("biased", STAGE_FILES[2], "output", "DOUBLE"),
    ],
)
def test_output_that_is_not_float32_is_not_taken(
    engine: Engine, name: str, file: str, output: str, type_: str
) -> None:
    files = MODELS[name].files
    changed = _with_type(files[file], output, TensorProto.DataType.Value(type_))

    with pytest.raises(ModelUnusable, match=r"must be tensor\(float\), but one is tensor\("):
        engine.load(described(name), {**files, file: changed})


@pytest.mark.parametrize(
    ("name", "file", "input_", "type_"),
    [
        ("whole", MODEL_FILE, "value", TensorProto.DOUBLE),
        ("whole", MODEL_FILE, "attend_mask", TensorProto.FLOAT),
        ("biased", STAGE_FILES[0], "query", TensorProto.FLOAT16),
        ("biased", STAGE_FILES[2], "head_outputs", TensorProto.DOUBLE),
        ("biased", POSITION_BIAS_FILE, "query_positions", TensorProto.INT64),
        ("biased", POSITION_BIAS_FILE, "heads", TensorProto.INT32),
    ],
)
def test_input_of_another_type_is_not_taken(
    engine: Engine, name: str, file: str, input_: str, type_: int
) -> None:
    files = MODELS[name].files

    with pytest.raises(ModelUnusable, match=r"ONNX Runtime does not run it: .*data type"):
        engine.load(described(name), {**files, file: _with_type(files[file], input_, type_)})


def _with_node(content: bytes, operator: str, output: str = "more") -> bytes:
    model = load_model_from_string(content)
    model.graph.node.append(helper.make_node(operator, [model.graph.output[0].name], [output]))
    changed: bytes = model.SerializeToString()
    return changed


@pytest.mark.parametrize(
    "name",
    ["a" * 1_000_000, "\x1b[2J\n\r\N{RIGHT-TO-LEFT OVERRIDE}"],
    ids=["long", "not printable"],
)
def test_names_in_a_model_do_not_shape_what_is_said_of_it(
    engine: Engine, projections: Projections, name: str
) -> None:
    files = stages(projections)
    files[STAGE_FILES[2]] = _with_node(files[STAGE_FILES[2]], name)

    with pytest.raises(ModelUnusable) as unusable:
        engine.load(replace(MODEL, key=ModelKey("other", "1")), files)

    said = str(unusable.value)
    assert name[:3].encode("unicode_escape").decode() in said
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 400


def test_refused_model_has_nothing_printed_of_it(
    engine: Engine, projections: Projections, capfd: pytest.CaptureFixture[str]
) -> None:
    files = stages(projections)
    named = _with_node(files[STAGE_FILES[2]], "unnamed")
    files[STAGE_FILES[2]] = named.replace(b"unnamed", b"\xff" * 7)  # no UTF-8

    with pytest.raises(ModelUnusable, match="ONNX Runtime does not run it"):
        engine.load(replace(MODEL, key=ModelKey("other", "1")), files)

    assert capfd.readouterr() == ("", "")


def test_model_made_for_one_size_is_not_taken(engine: Engine, projections: Projections) -> None:
    files = stages(projections)
    combine = load_model_from_string(files[STAGE_FILES[2]])
    constant = next(node for node in combine.graph.node if "joined_shape" in node.output)
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([1, 2, -1])))
    files[STAGE_FILES[2]] = combine.SerializeToString()

    with pytest.raises(ModelUnusable, match="ONNX Runtime does not run it"):
        engine.load(replace(MODEL, key=ModelKey("other", "1")), files)


def test_checked_model_is_not_kept(engine: Engine, projections: Projections) -> None:
    request = replace(layer_request(), model=ModelKey("checked", "1"))

    engine.check(replace(MODEL, key=request.model), stages(projections))

    with pytest.raises(KeyError):
        result_of(engine, request)


def test_bytes_that_are_two_formats_are_read_as_onnx(
    runtime: Runtime, projections: Projections
) -> None:
    # A field before all others, whose text is where ONNX Runtime's own format has its mark.
    content = b"\x12\x06xxORTM" + stages(projections)[STAGE_FILES[0]]

    session = Session(runtime, content)

    (heads,) = session.run(
        ["query_heads"],
        {"query": DeviceTensor.from_host(runtime, np.ones((1, 2, MODEL.query_dim), np.float32))},
    )
    assert heads.shape == (1, 4, 2, MODEL.head_dim)
