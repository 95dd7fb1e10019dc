"""Loading a model: what the engine takes, and what is said of what it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper, load_model_from_string, numpy_helper

from attention_server.domain.model import Model, ModelKey
from attention_server.domain.request import Task
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.manifest import STAGE_FILES
from attention_service.reference import Projections
from tests.unit.server.engine.answers import result_of, wanted
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
        list(engine.run([Task(request, wanted)]))


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
