"""Layers written node by node, as ONNX files: what a server takes, whoever exported it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from attention_service.manifest import MODEL_FILE, POSITION_BIAS_FILE, STAGE_FILES
from attention_service.reference import Projections

__all__ = ["position_bias", "stages", "whole"]

_OPSET, _IR_VERSION = 20, 10  # older releases of ONNX Runtime refuse newer ones
_TYPES = {
    "query_positions": TensorProto.INT32,
    "key_positions": TensorProto.INT32,
    "heads": TensorProto.INT64,
    "attend_mask": TensorProto.BOOL,
}
_RANKS = {
    "query": 3,
    "key": 3,
    "value": 3,
    "output": 3,
    "query_positions": 2,
    "key_positions": 2,
    "heads": 1,
}  # of all others 4


def stages(
    projections: Projections,
    *,
    heads: int,
    kv_heads: int,
    frequencies: ArrayLike | None = None,
) -> dict[str, bytes]:
    """Returns each stage by its file name; the biases of query, key and value are 0.

    Args:
        projections: W_Q, W_K, W_V and W_O, and the bias of the last.
        heads: Query heads.
        kv_heads: Key and value heads.
        frequencies: Of a layer that rotates: radians a position of each pair, float32.
    """
    project_query, project_key_value, combine = STAGE_FILES
    query = _projected("query", projections.w_q, heads)
    key = _projected("key", projections.w_k, kv_heads)
    query_inputs, key_inputs = ["query"], ["key", "value"]
    if frequencies is not None:
        query = _rotated("query", query, np.asarray(frequencies, np.float32))
        key = _rotated("key", key, np.asarray(frequencies, np.float32))
        query_inputs.append("query_positions")
        key_inputs.append("key_positions")
    value = _projected("value", projections.w_v, kv_heads)
    return {
        project_query: _graph(query_inputs, ["query_heads"], query),
        project_key_value: _graph(key_inputs, ["key_heads", "value_heads"], [*key, *value]),
        combine: _graph(
            ["head_outputs"], ["output"], _combined("head_outputs", projections, "output")
        ),
    }


def position_bias(table: NDArray[np.float32]) -> dict[str, bytes]:
    """Returns the stage that biases by the distance, key - query, by its file name.

    Args:
        table: float32 [heads, 2 * reach + 1].
    """
    reach = (table.shape[1] - 1) // 2
    nodes = [
        _constant("key_axis", np.array([1])),
        _constant("query_axis", np.array([2])),
        helper.make_node("Unsqueeze", ["key_positions", "key_axis"], ["keys"]),
        helper.make_node("Unsqueeze", ["query_positions", "query_axis"], ["queries"]),
        helper.make_node("Sub", ["keys", "queries"], ["distances"]),
        _constant("least", np.array(-reach, np.int32)),
        _constant("most", np.array(reach, np.int32)),
        helper.make_node("Clip", ["distances", "least", "most"], ["near"]),
        helper.make_node("Add", ["near", "most"], ["places"]),
        _constant("table", table),
        helper.make_node("Gather", ["table", "heads"], ["rows"], axis=0),
        helper.make_node("Gather", ["rows", "places"], ["by_head"], axis=1),
        helper.make_node("Transpose", ["by_head"], ["position_bias"], perm=[1, 0, 2, 3]),
    ]
    inputs = ["query_positions", "key_positions", "heads"]
    return {POSITION_BIAS_FILE: _graph(inputs, ["position_bias"], nodes)}


def whole(
    projections: Projections, *, heads: int, scale: float, weights: bool = True
) -> dict[str, bytes]:
    """Returns a layer as one graph; a query that may attend to nothing has an output of 0.

    Args:
        projections: W_Q, W_K, W_V and W_O, and the bias of the last.
        heads: Heads of query, key and value alike.
        scale: Factor on the dot products.
        weights: Whether it gives the weights too.
    """
    nodes = [
        *_projected("query", projections.w_q, heads),
        *_projected("key", projections.w_k, heads),
        *_projected("value", projections.w_v, heads),
        helper.make_node("Transpose", ["key_heads"], ["key_columns"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["query_heads", "key_columns"], ["products"]),
        _constant("scale", np.array(scale, np.float32)),
        helper.make_node("Mul", ["products", "scale"], ["scores"]),
        _constant("lowest", np.array(np.finfo(np.float32).min)),
        helper.make_node("Where", ["attend_mask", "scores", "lowest"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["softmax"], axis=-1),
        _constant("zero", np.array(0, np.float32)),
        helper.make_node("Where", ["attend_mask", "softmax", "zero"], ["weights"]),
        helper.make_node("MatMul", ["weights", "value_heads"], ["head_outputs"]),
        *_combined("head_outputs", projections, "joined_output"),
        helper.make_node("Cast", ["attend_mask"], ["sight"], to=TensorProto.FLOAT),
        _constant("last_axis", np.array([-1])),
        helper.make_node("ReduceMax", ["sight", "last_axis"], ["sees"], keepdims=1),
        _constant("head_axis", np.array([1])),
        helper.make_node("Squeeze", ["sees", "head_axis"], ["sees_anything"]),
        helper.make_node("Mul", ["joined_output", "sees_anything"], ["output"]),
    ]
    outputs = ["output", "weights"] if weights else ["output"]
    return {MODEL_FILE: _graph(["query", "key", "value", "attend_mask"], outputs, nodes)}


def _projected(name: str, weights: ArrayLike, heads: int) -> list[NodeProto]:
    return [
        _constant(f"w_{name}", np.asarray(weights)),
        helper.make_node("MatMul", [name, f"w_{name}"], [f"{name}_projected"]),
        _constant(f"{name}_shape", np.array([0, 0, heads, -1])),
        helper.make_node("Reshape", [f"{name}_projected", f"{name}_shape"], [f"{name}_split"]),
        helper.make_node("Transpose", [f"{name}_split"], [f"{name}_heads"], perm=[0, 2, 1, 3]),
    ]


def _rotated(
    name: str, projected: Sequence[NodeProto], frequencies: NDArray[np.float32]
) -> list[NodeProto]:
    """Returns a projection whose heads are turned by position, in pairs of halves."""
    *before, last = projected
    last.output[0] = f"{name}_unturned"
    pairs = len(frequencies)
    halves = [f"{name}_first", f"{name}_second"]
    cut = [
        node
        for half, start in zip(halves, (0, pairs), strict=True)
        for node in _slice(f"{name}_unturned", half, start, start + pairs)
    ]

    def operator(kind: str, first: str, second: str, output: str) -> NodeProto:
        return helper.make_node(kind, [first, second], [f"{name}_{output}"])

    first, second = halves
    cosines, sines = f"{name}_cosines", f"{name}_sines"
    return [
        *before,
        last,
        *cut,
        *_slice(f"{name}_unturned", f"{name}_rest", 2 * pairs, np.iinfo(np.int64).max),
        helper.make_node("Cast", [f"{name}_positions"], [f"{name}_place"], to=TensorProto.FLOAT),
        _constant(f"{name}_axes", np.array([1, 3])),
        operator("Unsqueeze", f"{name}_place", f"{name}_axes", "column"),
        _constant(f"{name}_frequencies", frequencies),
        operator("Mul", f"{name}_column", f"{name}_frequencies", "angles"),
        helper.make_node("Cos", [f"{name}_angles"], [cosines]),
        helper.make_node("Sin", [f"{name}_angles"], [sines]),
        operator("Mul", first, cosines, "first_cos"),
        operator("Mul", second, sines, "second_sin"),
        operator("Sub", f"{name}_first_cos", f"{name}_second_sin", "turned_first"),
        operator("Mul", second, cosines, "second_cos"),
        operator("Mul", first, sines, "first_sin"),
        operator("Add", f"{name}_second_cos", f"{name}_first_sin", "turned_second"),
        helper.make_node(
            "Concat",
            [f"{name}_turned_first", f"{name}_turned_second", f"{name}_rest"],
            [f"{name}_heads"],
            axis=-1,
        ),
    ]


def _slice(source: str, target: str, start: int, end: int) -> list[NodeProto]:
    """Returns nodes that cut the last dimension."""
    bounds = {"start": start, "end": end, "axis": -1}
    names = [f"{target}_{name}" for name in bounds]
    constants = [
        _constant(name, np.array([bound]))
        for name, bound in zip(names, bounds.values(), strict=True)
    ]
    return [*constants, helper.make_node("Slice", [source, *names], [target])]


def _combined(source: str, projections: Projections, target: str) -> list[NodeProto]:
    return [
        helper.make_node("Transpose", [source], ["by_query"], perm=[0, 2, 1, 3]),
        _constant("joined_shape", np.array([0, 0, -1])),
        helper.make_node("Reshape", ["by_query", "joined_shape"], ["joined"]),
        _constant("w_o", np.asarray(projections.w_o)),
        helper.make_node("MatMul", ["joined", "w_o"], ["unbiased"]),
        _constant("b_o", np.asarray(projections.b_o)),
        helper.make_node("Add", ["unbiased", "b_o"], [target]),
    ]


def _constant(name: str, value: NDArray[np.generic]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _graph(inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[NodeProto]) -> bytes:
    def info(name: str) -> ValueInfoProto:
        data_type = _TYPES.get(name, TensorProto.FLOAT)
        return helper.make_tensor_value_info(name, data_type, [None] * _RANKS.get(name, 4))

    graph = helper.make_graph(nodes, "layer", list(map(info, inputs)), list(map(info, outputs)))
    opsets = [helper.make_opsetid("", _OPSET)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized
