from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from attention_export import MultiHeadAttention, VerificationError
from attention_export.float64_layer import Float64Layer
from attention_export.layer_export import manifest_of
from attention_export.verification import TOLERANCE, input_spread, verify
from attention_export.verification_cases import cases
from attention_service.manifest import MODEL_FILE, STAGE_FILES

GRAPHS = dict.fromkeys((MODEL_FILE, *STAGE_FILES), b"")
Change = Callable[[ModelProto], None]


def changed(graph: bytes, change: Change) -> bytes:
    model = onnx.load_from_string(graph)
    change(model)
    return model.SerializeToString()


def verified(layer: MultiHeadAttention, graphs: dict[str, bytes]) -> dict[str, float]:
    manifest, reference = manifest_of(layer, graphs, name="layer"), Float64Layer(layer)
    manifest = replace(manifest, spread=input_spread(manifest, reference))
    return verify(manifest, graphs, reference)


def nudge_one_weight(model: ModelProto) -> None:
    """Moves the largest of the weights by a thousandth."""
    tensor = max(model.graph.initializer, key=lambda x: int(np.prod(x.dims)))
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[np.abs(weights).argmax()] *= 1.001
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


def ignore_the_mask(model: ModelProto) -> None:
    attention = next(node for node in model.graph.node if node.op_type == "Attention")
    attention.input.pop()


def see_only_the_past(model: ModelProto) -> None:
    attention = next(node for node in model.graph.node if node.op_type == "Attention")
    attention.attribute.append(onnx.helper.make_attribute("is_causal", 1))


def give_scores_for_weights(model: ModelProto) -> None:
    attention = next(node for node in model.graph.node if node.op_type == "Attention")
    mode = next(a for a in attention.attribute if a.name == "qk_matmul_output_mode")
    mode.i = 0


def forget_a_dimension(model: ModelProto) -> None:
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 2


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.onnx", nudge_one_weight, "off float64"),
        ("model.onnx", ignore_the_mask, "off float64"),
        ("model.onnx", see_only_the_past, "off float64"),
        ("model.onnx", give_scores_for_weights, "weights of the exported graphs"),
        ("model.onnx", forget_a_dimension, r"ONNX Runtime does not run model\.onnx"),
        ("project_query.onnx", nudge_one_weight, "query_heads of the exported graphs"),
        ("project_key_value.onnx", nudge_one_weight, "value_heads of the exported graphs"),
        ("combine.onnx", nudge_one_weight, "staged_output of the exported graphs"),
    ],
)
def test_wrong_graph_is_caught(
    name: str, change: Change, message: str, layer: MultiHeadAttention, graphs: dict[str, bytes]
) -> None:
    with pytest.raises(VerificationError, match=message):
        verified(layer, {**graphs, name: changed(graphs[name], change)})


def test_graph_that_does_not_load_is_caught(
    layer: MultiHeadAttention, graphs: dict[str, bytes]
) -> None:
    with pytest.raises(VerificationError, match=r"ONNX Runtime does not load combine\.onnx"):
        verified(layer, {**graphs, "combine.onnx": b"nothing"})


def test_other_scale_is_caught(layer: MultiHeadAttention, graphs: dict[str, bytes]) -> None:
    other = copy.deepcopy(layer)
    other.scale *= 1.01
    with pytest.raises(VerificationError, match="off float64"):
        verified(other, graphs)


def test_right_graphs_pass(layer: MultiHeadAttention, graphs: dict[str, bytes]) -> None:
    assert max(verified(layer, graphs).values()) <= TOLERANCE / 3


def test_cases_cover_sizes_masks_and_both_kinds_of_attention() -> None:
    found = list(cases(manifest_of(MultiHeadAttention(8, 2), GRAPHS, name="layer"), spread=1.0))
    sizes = {(*case.query.shape[:2], case.key.shape[1]) for case in found}
    assert (1, 1, 1) in sizes
    assert any(query_len > kv_len for _, query_len, kv_len in sizes)
    assert any(query_len < kv_len for _, query_len, kv_len in sizes)
    assert {case.query is case.key for case in found} == {True, False}
    assert any(case.attend_mask.all() for case in found)
    assert any(not case.attend_mask.any(axis=-1).all() for case in found)
    assert {case.attend_mask.shape[1] for case in found} == {1, 2}


def test_self_attention_is_left_out_where_widths_differ(layer: MultiHeadAttention) -> None:
    manifest = manifest_of(layer, GRAPHS, name="layer")
    assert not any(case.query is case.key for case in cases(manifest, spread=1.0))


def test_layer_with_large_scores_passes(
    layer: MultiHeadAttention, graphs: dict[str, bytes]
) -> None:
    other = copy.deepcopy(layer)
    other.scale *= 3000.0

    def rescale(model: ModelProto) -> None:
        attention = next(node for node in model.graph.node if node.op_type == "Attention")
        next(a for a in attention.attribute if a.name == "scale").f = other.scale

    model = changed(graphs["model.onnx"], rescale)
    assert max(verified(other, {**graphs, "model.onnx": model}).values()) <= TOLERANCE
