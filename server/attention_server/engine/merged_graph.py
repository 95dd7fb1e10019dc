"""The stages of a layer and attention between them, put together to one graph."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import compose, helper

from attention_service.manifest import STAGE_FILES

__all__ = ["merged_graph"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES
_LINKS = {
    "attend/query": "query/query_heads",
    "attend/key": "key_value/key_heads",
    "attend/value": "key_value/value_heads",
    "combine/head_outputs": "attend/head_outputs",
}
_OUTPUTS = {
    "output": "combine/output",
    "query_heads": "query/query_heads",
    "key_heads": "key_value/key_heads",
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
    outputs: dict[str, onnx.ValueInfoProto] = {}
    for prefix, model in models.items():
        own_inputs = [entry.name for entry in model.graph.input]
        part = compose.add_prefix_graph(model.graph, prefix, inplace=True)
        for name, entry in zip(own_inputs, part.input, strict=True):
            linked = _LINKS.get(entry.name)
            if linked is None:  # an input of the whole, by its own name
                graph.input.add().CopyFrom(entry)
                graph.input[-1].name = linked = name
            graph.node.append(helper.make_node("Identity", [linked], [entry.name]))
        graph.node.extend(part.node)
        graph.initializer.extend(part.initializer)
        graph.sparse_initializer.extend(part.sparse_initializer)
        outputs.update((entry.name, entry) for entry in part.output)
    for name, inside in _OUTPUTS.items():
        graph.output.add().CopyFrom(outputs[inside])
        graph.output[-1].name = name
        graph.node.append(helper.make_node("Identity", [inside], [name]))
    merged = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*each) for each in operators.items()],
        ir_version=max(model.ir_version for model in models.values()),
    )
    return merged.SerializeToString()
