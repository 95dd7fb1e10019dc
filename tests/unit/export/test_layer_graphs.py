from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from attention_export import MultiHeadAttention
from attention_export.float64_layer import Float64Layer
from attention_service.manifest import MODEL_FILE

from .conftest import Arrays, RunGraph

INTERFACES = {
    "model.onnx": (
        {
            "query": ("batch", "query_len", 24),
            "key": ("batch", "kv_len", 10),
            "value": ("batch", "kv_len", 12),
            "attend_mask": ("mask_batch", "mask_heads", "query_len", "kv_len"),
        },
        {"output": ("batch", "query_len", 14), "weights": ("batch", 6, "query_len", "kv_len")},
    ),
    "project_query.onnx": (
        {"query": ("batch", "query_len", 24)},
        {"query_heads": ("batch", 6, "query_len", 5)},
    ),
    "project_key_value.onnx": (
        {"key": ("batch", "kv_len", 10), "value": ("batch", "kv_len", 12)},
        {"key_heads": ("batch", 3, "kv_len", 5), "value_heads": ("batch", 3, "kv_len", 7)},
    ),
    "combine.onnx": (
        {"head_outputs": ("batch", 6, "query_len", 7)},
        {"output": ("batch", "query_len", 14)},
    ),
}


def shapes(values: Any) -> dict[str, tuple[str | int, ...]]:
    return {
        value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in values
    }


@pytest.mark.parametrize("name", INTERFACES)
def test_interface(name: str, graphs: dict[str, bytes]) -> None:
    graph = onnx.load_from_string(graphs[name]).graph
    assert (shapes(graph.input), shapes(graph.output)) == INTERFACES[name]
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    assert types.pop("attend_mask", onnx.TensorProto.BOOL) == onnx.TensorProto.BOOL
    assert set(types.values()) == {onnx.TensorProto.FLOAT}


def test_whole_layer_holds_one_standard_attention(graphs: dict[str, bytes]) -> None:
    model = onnx.load_from_string(graphs[MODEL_FILE])
    assert [node.op_type for node in model.graph.node].count("Attention") == 1
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 23)]


@pytest.mark.parametrize("mask_batch", ["1", "batch"])
@pytest.mark.parametrize("mask_heads", ["1", "heads"])
@pytest.mark.parametrize(
    ("batch", "query_len", "kv_len"), [(1, 1, 1), (1, 1, 8), (1, 8, 1), (3, 2, 5), (2, 100, 130)]
)
def test_whole_layer_takes_every_size_and_mask(
    batch: int,
    query_len: int,
    kv_len: int,
    mask_heads: str,
    mask_batch: str,
    layer: MultiHeadAttention,
    graphs: dict[str, bytes],
    run_graph: RunGraph,
) -> None:
    random = np.random.default_rng(1)

    def normal(length: int, dim: int) -> NDArray[np.float32]:
        return random.standard_normal((batch, length, dim)).astype(np.float32)

    shape = (batch if mask_batch == "batch" else 1, 6 if mask_heads == "heads" else 1)
    inputs: Arrays = {
        "query": normal(query_len, 24),
        "key": normal(kv_len, 10),
        "value": normal(kv_len, 12),
        "attend_mask": random.random((*shape, query_len, kv_len)) < 0.5,
    }
    actual = run_graph(graphs[MODEL_FILE], inputs)
    expected = Float64Layer(layer).compute(**inputs)
    for name in ("output", "weights"):
        assert actual[name].shape == expected[name].shape
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=2e-6)
