"""A layer in stages, written node by node: what the engine takes, whoever exported it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from attention_server.domain.model import AttentionSettings, Model, ModelKey
from attention_server.domain.request import AttendRequest, Float32Array
from attention_service.manifest import STAGE_FILES
from attention_service.reference import Projections
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request

DIMS = Dims(heads=4, kv_heads=2, head_dim=5, value_head_dim=3)
MODEL = Model(
    key=ModelKey("layer", "1"),
    query_dim=12,
    key_dim=8,
    value_dim=6,
    output_dim=10,
    head_dim=DIMS.head_dim,
    value_head_dim=DIMS.value_head_dim,
    defaults=AttentionSettings(DIMS.heads, DIMS.kv_heads, scale=1.0 / math.sqrt(DIMS.head_dim)),
)


def stages(projections: Projections) -> dict[str, bytes]:
    """Returns each stage by its file name; the biases of query, key and value are 0."""
    project_query, project_key_value, combine = STAGE_FILES
    return {
        project_query: _graph(
            ["query"],
            ["query_heads"],
            _project("query", projections.w_q, DIMS.heads, DIMS.head_dim),
        ),
        project_key_value: _graph(
            ["key", "value"],
            ["key_heads", "value_heads"],
            [
                *_project("key", projections.w_k, DIMS.kv_heads, DIMS.head_dim),
                *_project("value", projections.w_v, DIMS.kv_heads, DIMS.value_head_dim),
            ],
        ),
        combine: _graph(
            ["head_outputs"],
            ["output"],
            [
                helper.make_node("Transpose", ["head_outputs"], ["by_query"], perm=[0, 2, 1, 3]),
                _constant("joined_shape", np.array([0, 0, -1])),
                helper.make_node("Reshape", ["by_query", "joined_shape"], ["joined"]),
                _constant("w_o", np.asarray(projections.w_o)),
                helper.make_node("MatMul", ["joined", "w_o"], ["unbiased"]),
                _constant("b_o", np.asarray(projections.b_o)),
                helper.make_node("Add", ["unbiased", "b_o"], ["output"]),
            ],
        ),
    }


def layer_request(
    dims: Dims = DIMS,
    masks: Masks | None = None,
    options: Options | None = None,
    *,
    seed: int = 0,
    spread: float = 1.0,
) -> AttendRequest:
    """Returns a request for the layer, of its widths and its heads."""
    random = np.random.default_rng(seed)
    request = attend_request(dims, masks, options, seed=seed)

    def normal(length: int, width: int) -> Float32Array:
        return (spread * random.standard_normal((dims.batch, length, width))).astype(np.float32)

    return replace(
        request,
        model=MODEL.key,
        query=normal(dims.query_len, MODEL.query_dim),
        key=normal(dims.kv_len, MODEL.key_dim),
        value=normal(dims.kv_len, MODEL.value_dim),
    )


def _project(name: str, weights: object, heads: int, size: int) -> list[NodeProto]:
    return [
        _constant(f"w_{name}", np.asarray(weights)),
        helper.make_node("MatMul", [name, f"w_{name}"], [f"{name}_projected"]),
        _constant(f"{name}_shape", np.array([0, 0, heads, size])),
        helper.make_node("Reshape", [f"{name}_projected", f"{name}_shape"], [f"{name}_split"]),
        helper.make_node("Transpose", [f"{name}_split"], [f"{name}_heads"], perm=[0, 2, 1, 3]),
    ]


def _constant(name: str, value: NDArray[np.generic]) -> NodeProto:
    tensor = numpy_helper.from_array(value)
    return helper.make_node("Constant", [], [name], value=tensor)


def _graph(inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[NodeProto]) -> bytes:
    def float32(name: str, rank: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)

    ranks = {"head_outputs": 4, "output": 3, "query": 3, "key": 3, "value": 3}
    graph = helper.make_graph(
        nodes,
        "stage",
        [float32(name, ranks[name]) for name in inputs],
        [float32(name, ranks.get(name, 4)) for name in outputs],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10  # older releases of ONNX Runtime refuse newer ones
    serialized: bytes = model.SerializeToString()
    return serialized
