"""Graphs computed in float64, and layers made of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, parser

from attention_export import DamagedModelError, MultiHeadAttention, VerificationError
from attention_export.float64_graph import Float64Graph
from attention_export.float64_layer import Float64Layer
from attention_export.graph_reference import GraphReference
from attention_export.layer_export import manifest_of
from attention_export.verification import verify
from attention_export.verification_cases import cases

from .conftest import ExportedLayer
from .layers import BIASED, ROTATED


def serialized(text: str) -> bytes:
    header = '<ir_version: 11, opset_import: ["" : 23]> layer '
    model: onnx.ModelProto = parser.parse_model(header + text)
    return model.SerializeToString()


@pytest.fixture(params=["grouped", ROTATED, BIASED])
def exported(
    request: pytest.FixtureRequest,
    layer: MultiHeadAttention,
    graphs: dict[str, bytes],
    exported_layer: ExportedLayer,
) -> tuple[MultiHeadAttention, dict[str, bytes]]:
    return (layer, graphs) if request.param == "grouped" else exported_layer(request.param)


def test_graphs_alone_say_what_their_module_computes(
    exported: tuple[MultiHeadAttention, dict[str, bytes]],
) -> None:
    layer, graphs = exported
    manifest = manifest_of(layer, graphs, name="layer")
    reference = GraphReference(manifest, graphs)
    right = Float64Layer(layer)
    for case in cases(manifest, spread=1.0):
        expected, actual = right.run(case), reference.run(case)
        assert actual.keys() == expected.keys()
        for name, tensor in actual.items():
            assert tensor.dtype == np.float64
            np.testing.assert_allclose(tensor, expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_float32_is_float64_wherever_it_stands_in_a_graph() -> None:
    text = """(float[n] x, int64[n] whole) => (float[n] y) <float[1] three = {3.0}> {
        third = Div(x, three)
        seventh = Constant<value = float[1] {0.142857142857}>()
        number = Cast<to = 1>(whole)
        part = Mul(number, seventh)
        y = Add(third, part)
    }"""
    x, whole = np.ones(2, np.float32), np.array([1, 2])
    (y,) = Float64Graph("graph.onnx", serialized(text)).run({"x": x, "whole": whole}).values()
    assert y.dtype == np.float64
    right = 1 / 3 + whole * np.float64(np.float32(0.142857142857))
    np.testing.assert_allclose(y, right, rtol=1e-15, atol=0)


def test_angles_are_those_of_float32() -> None:
    text = """(int32[n] positions) => (float[n] cosines, float[n] sines)
    <float[1] frequency = {0.7}> {
        numbers = Cast<to = 1>(positions)
        angles = Mul(numbers, frequency)
        cosines = Cos(angles)
        sines = Sin(angles)
    }"""
    positions = np.array([1, 4095, 131_071], np.int32)
    angles = positions.astype(np.float32) * np.float32(0.7)
    found = Float64Graph("graph.onnx", serialized(text)).run({"positions": positions})
    np.testing.assert_array_equal(found["cosines"], np.cos(angles.astype(np.float64)))
    np.testing.assert_array_equal(found["sines"], np.sin(angles.astype(np.float64)))


OTHER_OUTPUT = "(float[b, l, 24] query) => (float[b, l, 24] x) { x = Neg(query) }"
OTHER_INPUT = (
    "(float[b, l, 24] tokens) => (float[b, l, 24] query_heads) { query_heads = Neg(tokens) }"
)
OTHER_WIDTH = """(float[b, l, d] query) => (float[b, l, d] query_heads)
<float[2] w = {1, 2}> { query_heads = Add(query, w) }"""


def with_external_data() -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    model = onnx.load_from_string(serialized(OTHER_INPUT))
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (b"nothing", DamagedModelError, "project_query.onnx is no ONNX model"),
        (with_external_data(), DamagedModelError, "refers to other files for its weights"),
        (serialized(OTHER_OUTPUT), VerificationError, "gives x, where query_heads is right"),
        (serialized(OTHER_INPUT), VerificationError, "takes tokens, which no layer is given"),
        (serialized(OTHER_WIDTH), VerificationError, "do not compute project_query.onnx"),
    ],
    ids=["no model", "external data", "other output", "other input", "other width"],
)
def test_graph_that_is_no_stage_is_refused(
    graph: bytes,
    error: type[Exception],
    message: str,
    layer: MultiHeadAttention,
    graphs: dict[str, bytes],
) -> None:
    graphs = {**graphs, "project_query.onnx": graph}
    manifest = manifest_of(layer, graphs, name="layer")
    with pytest.raises(error, match=message):
        verify(manifest, graphs, GraphReference(manifest, graphs))
