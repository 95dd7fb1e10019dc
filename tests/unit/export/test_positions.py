"""Layers that use positions, and what else stands between projections and scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from attention_export import MultiHeadAttention, VerificationError
from attention_export.float64_layer import Float64Layer
from attention_export.layer_export import manifest_of
from attention_export.relative_position_bias import RelativePositionBias
from attention_export.verification import TOLERANCE, verify
from attention_service.manifest import MODEL_FILE

from .conftest import ExportedLayer, RunGraph
from .layers import BIASED, HEADS, LAYERS, ROTATED, drawn, rotary


@pytest.fixture(scope="module", params=[ROTATED, BIASED])
def exported(
    request: pytest.FixtureRequest, exported_layer: ExportedLayer
) -> tuple[MultiHeadAttention, dict[str, bytes]]:
    return exported_layer(request.param)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("first", [0, 700])
def test_eager_agrees_with_the_reference(name: str, first: int) -> None:
    layer = LAYERS[name]()
    random = np.random.default_rng(0)
    query, key = (random.standard_normal((2, length, 10)).astype(np.float32) for length in (4, 9))
    mask = random.random((2, HEADS, 4, 9)) < 0.7
    queries = first + np.stack((np.arange(4), 5 + np.arange(4)))
    keys = first + np.stack((np.arange(9), np.arange(9)[::-1]))

    output, weights = layer(
        *map(torch.from_numpy, (query, key, key, mask)),
        query_positions=torch.from_numpy(queries),
        key_positions=torch.from_numpy(keys),
    )

    right = Float64Layer(layer).compute(query, key, key, mask, queries, keys)
    np.testing.assert_allclose(output.detach(), right["output"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(weights.detach(), right["weights"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_absent_positions_count_from_zero(name: str) -> None:
    layer = LAYERS[name]()
    x = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(5).expand(2, 5)

    output, _ = layer(x)

    told, _ = layer(x, query_positions=positions, key_positions=positions)
    later, _ = layer(x, query_positions=positions + 90, key_positions=positions + 90)
    apart, _ = layer(x, query_positions=positions + 2, key_positions=positions)
    assert torch.equal(output, told)
    torch.testing.assert_close(output, later, rtol=0, atol=1e-5)  # the distance alone counts
    assert (output - apart).abs().max() > 1e-2


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_learns(name: str) -> None:
    layer = LAYERS[name]().train()
    output, _ = layer(torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0)))
    output.square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_exported_graphs_are_right(exported: tuple[MultiHeadAttention, dict[str, bytes]]) -> None:
    layer, graphs = exported
    parity = verify(manifest_of(layer, graphs, name="layer"), graphs, Float64Layer(layer))
    assert max(parity.values()) <= TOLERANCE / 3
    assert ("position_bias" in parity) == (layer.position_bias is not None)


def test_positions_of_any_size_are_taken(
    exported: tuple[MultiHeadAttention, dict[str, bytes]], run_graph: RunGraph
) -> None:
    layer, graphs = exported
    x = np.random.default_rng(0).standard_normal((1, 2, 10)).astype(np.float32)
    positions = np.array([[2**31 - 1, 0]], np.int32)
    mask = np.ones((1, 1, 2, 2), bool)
    inputs = {"query": x, "key": x, "value": x, "attend_mask": mask}
    places = {"query_positions": positions, "key_positions": positions}

    output = run_graph(graphs[MODEL_FILE], {**inputs, **places})["output"]

    right = Float64Layer(layer).compute(x, x, x, mask, positions, positions)["output"]
    # float32 knows such a position, and so its angle, to some hundred radians alone.
    if layer.position_bias is not None:
        np.testing.assert_allclose(output, right, rtol=0, atol=1e-5)
    assert np.isfinite(output).all()


def scale_a_constant(name: str, factor: float) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if name in t.name)
        constant = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(constant, tensor.name))

    return change


def forget_the_softcap(model: ModelProto) -> None:
    attention = next(node for node in model.graph.node if node.op_type == "Attention")
    next(a for a in attention.attribute if a.name == "softcap").f = 0.0


WRONG = {
    "frequencies of the query": ("project_query.onnx", scale_a_constant("frequencies", 1.01)),
    "frequencies of the key": ("project_key_value.onnx", scale_a_constant("frequencies", 1.01)),
    "norm": ("project_query.onnx", scale_a_constant("query_norm", 1.01)),
    "softcap": ("model.onnx", forget_the_softcap),
    "bias": ("position_bias.onnx", scale_a_constant("table", 1.01)),
    "bias of the whole": ("model.onnx", scale_a_constant("table", 1.01)),
}


@pytest.mark.parametrize(
    ("exported", "wrong"),
    [
        *((ROTATED, wrong) for wrong in list(WRONG)[:4]),
        *((BIASED, wrong) for wrong in list(WRONG)[4:]),
    ],
    indirect=["exported"],
)
def test_wrong_graph_is_caught(
    wrong: str, exported: tuple[MultiHeadAttention, dict[str, bytes]]
) -> None:
    layer, graphs = exported
    name, change = WRONG[wrong]
    model = onnx.load_from_string(graphs[name])
    change(model)
    graphs = {**graphs, name: model.SerializeToString()}
    with pytest.raises(VerificationError, match="off float64"):
        verify(manifest_of(layer, graphs, name="layer"), graphs, Float64Layer(layer))


def test_other_manifest_is_caught(
    exported: tuple[MultiHeadAttention, dict[str, bytes]],
) -> None:
    layer, graphs = exported
    manifest = manifest_of(layer, graphs, name="layer")
    other = replace(manifest, defaults=replace(manifest.defaults, softcap=3.0))
    with pytest.raises(VerificationError, match="off float64"):
        verify(other, graphs, Float64Layer(layer))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"softcap": -1.0}, "softcap must be 0 or more and finite, not -1.0"),
        ({"softcap": float("nan")}, "softcap must be 0 or more and finite, not nan"),
        ({"rotary": rotary(4)}, r"at most head_dim \(6\) numbers, not 8"),
        (
            {"rotary": rotary(2), "position_bias": RelativePositionBias(HEADS, 3)},
            "rotates by position or biases by distance, not both",
        ),
    ],
)
def test_what_makes_no_layer_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(**more)


def test_rotating_projection_needs_positions() -> None:
    with pytest.raises(ValueError, match="needs positions"):
        drawn(rotary=rotary(2)).project_query(torch.zeros(1, 2, 10))
