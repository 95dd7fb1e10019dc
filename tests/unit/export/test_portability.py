"""What leaves this machine says nothing about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
import pytest
from google.protobuf.message import Message


@pytest.fixture(scope="module")
def every_graph(graphs: dict[str, bytes], committed_graphs: dict[str, bytes]) -> dict[str, Any]:
    return {
        name: onnx.load_from_string(graph) for name, graph in {**graphs, **committed_graphs}.items()
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
            assert not {"/", "\\", " "} & set(text), (name, text)
            assert ".py" not in text, (name, text)


def test_no_external_data_and_no_functions(every_graph: dict[str, Any]) -> None:
    for name, model in every_graph.items():
        assert not model.functions, name
        for tensor in model.graph.initializer:
            assert tensor.data_location == onnx.TensorProto.DEFAULT, name
            assert not tensor.external_data, name


def test_graphs_are_valid(every_graph: dict[str, Any]) -> None:
    for model in every_graph.values():
        onnx.checker.check_model(model, full_check=False)
