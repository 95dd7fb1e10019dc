"""The stages of a layer and attention between them, put together to one graph."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import compose, helper

from attention_service.manifest import STAGE_FILES

__all__ = ["merged_graph"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
_OUTPUTS = ("output", "query_heads", "key_heads")
# What a stage gives has one name in the stage that takes it and, where the whole gives it too, its
# name there. Identity nodes between them would copy each output of the whole: 3 % at 768 wide.
_NAMES = {
    "query/query_heads": "query_heads",
    "key_value/key_heads": "key_heads",
    "combine/output": "output",
    "attend/query": "query_heads",
    "attend/key": "key_heads",
    "attend/value": "key_value/value_heads",
    "combine/head_outputs": "attend/head_outputs",
}

_MOST_BYTES = 32 << 20
"""Of all stages, for the weights are once more in memory. Layers of more are never small work."""


def merged_graph(files: Mapping[str, bytes], attention: bytes) -> bytes | None:
    """Returns one graph that gives a layer's output, and the heads that its scores are made of.

    Its inputs are those of the projections, and ``scale`` and ``attn_bias``. None where the stages
    were not written for the same operators, have functions of their own, or are large.

    Args:
        files: The content of each stage by its file name.
        attention: Query, key, value, scale and attn_bias -> head_outputs.
    """
    if sum(len(files[name]) for name in STAGE_FILES) > _MOST_BYTES:
        return None
    models = {
        "query/": onnx.load_model_from_string(files[_PROJECT_QUERY]),
        "key_value/": onnx.load_model_from_string(files[_PROJECT_KEY_VALUE]),
        "attend/": onnx.load_model_from_string(attention),
        "combine/": onnx.load_model_from_string(files[_COMBINE]),
    }
    operators: dict[str, int] = {}
    for model in models.values():
        for opset in model.opset_import:
            if operators.setdefault(opset.domain, opset.version) != opset.version:
                return None
        if model.functions:
            return None
    graph = onnx.GraphProto(name="layer")
    for prefix, model in models.items():
        names = dict(_NAMES)
        own_inputs = [entry.name for entry in model.graph.input]
        part = compose.add_prefix_graph(model.graph, prefix, inplace=True)
        for name, entry in zip(own_inputs, part.input, strict=True):
            if entry.name not in names:  # an input of the whole, by its own name
                names[entry.name] = name
                graph.input.add().CopyFrom(entry)
                graph.input[-1].name = name
        for entry in part.output:
            if names.get(entry.name) in _OUTPUTS:
                graph.output.add().CopyFrom(entry)
                graph.output[-1].name = names[entry.name]
        for node in part.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        graph.node.extend(part.node)
        graph.initializer.extend(part.initializer)
        graph.sparse_initializer.extend(part.sparse_initializer)
    merged = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*each) for each in operators.items()],
        ir_version=max(model.ir_version for model in models.values()),
    )
    return merged.SerializeToString()
