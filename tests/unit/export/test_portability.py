"""What leaves this machine says nothing about it, and runs on any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import Message

from attention_export.exported_model import ExportedModel, find_models, read_model
from attention_service.manifest import MODEL_FILE


@pytest.fixture(scope="module")
def models(every_kind: Path) -> dict[str, ExportedModel]:
    return {place.parent.name: read_model(place) for place in find_models(every_kind)}


@pytest.fixture(scope="module")
def every_graph(
    models: dict[str, ExportedModel], committed_graphs: dict[str, bytes]
) -> dict[str, Any]:
    exported = {
        f"{name}/{file}": graph
        for name, model in models.items()
        for file, graph in model.graphs.items()
    }
    return {
        name: onnx.load_from_string(graph) for name, graph in (exported | committed_graphs).items()
    }


def messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from messages(inner)


def texts(message: Message) -> Iterator[str]:
    for inner in messages(message):
        for _, value in inner.ListFields():
            yield from [value] if isinstance(value, str) else []


def test_no_metadata_and_no_doc_strings(every_graph: dict[str, Any]) -> None:
    for name, model in every_graph.items():
        for message in messages(model):
            fields = {field.name for field, _ in message.ListFields()}
            assert not fields & {"metadata_props", "doc_string", "producer_version"}, name


def test_no_paths_and_no_source_code(every_graph: dict[str, Any]) -> None:
    for name, model in every_graph.items():
        for text in texts(model):
            # torch's optimizer names the size of a value so.
            assert not {"/", "\\", " "} & set(text.removesuffix("/shape")), (name, text)
            assert ".py" not in text, (name, text)


def test_no_external_data_and_no_functions(every_graph: dict[str, Any]) -> None:
    for name, model in every_graph.items():
        assert not model.functions, name
        for tensor in model.graph.initializer:
            assert tensor.data_location == onnx.TensorProto.DEFAULT, name
            assert not tensor.external_data, name


def test_graphs_are_valid(every_graph: dict[str, Any]) -> None:
    for model in every_graph.values():
        onnx.checker.check_model(model, full_check=True)


def test_layer_in_stages_holds_one_attention_and_they_hold_none(
    models: dict[str, ExportedModel], every_graph: dict[str, Any]
) -> None:
    for name, model in models.items():
        for file in model.graphs:
            nodes = every_graph[f"{name}/{file}"].graph.node
            attentions = [node for node in nodes if node.op_type == "Attention"]
            of_stages = model.manifest.staged and file == MODEL_FILE
            assert len(attentions) == of_stages, (name, file)
            assert {node.domain for node in nodes} == {""}, (name, file)


def test_no_graph_decides_or_repeats(every_graph: dict[str, Any]) -> None:
    for name, model in every_graph.items():
        assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}, name
        assert not any(
            attribute.HasField("g") for node in model.graph.node for attribute in node.attribute
        ), name


def test_sizes_are_names_where_they_are_no_widths_or_heads(
    models: dict[str, ExportedModel], every_graph: dict[str, Any]
) -> None:
    for name, model in models.items():
        manifest, heads = model.manifest, model.manifest.defaults
        fixed = {
            "query": {2: manifest.query_dim},
            "key": {2: manifest.key_dim},
            "value": {2: manifest.value_dim},
            "output": {2: manifest.output_dim},
            "query_heads": {1: heads.num_heads, 3: manifest.head_dim},
            "key_heads": {1: heads.num_kv_heads, 3: manifest.head_dim},
            "value_heads": {1: heads.num_kv_heads, 3: manifest.value_head_dim},
            "head_outputs": {1: heads.num_heads, 3: manifest.value_head_dim},
            "weights": {1: heads.num_heads},
            "attend_mask": {} if manifest.staged else {1: 1},
        }
        for file in model.graphs:
            graph = every_graph[f"{name}/{file}"].graph
            for value in (*graph.input, *graph.output):
                sizes = enumerate(value.type.tensor_type.shape.dim)
                found = {i: size.dim_value for i, size in sizes if not size.dim_param}
                assert found == fixed.get(value.name, {}), (name, file, value.name)
