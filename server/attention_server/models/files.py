"""The files of one version of one model, read and checked before anything runs them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from attention_service.manifest import FILE_NAME, STAGE_FILES, Manifest, ManifestError

__all__ = ["BrokenModel", "read_files", "read_manifest"]

_MAX_MANIFEST_BYTES = 1 << 20


class BrokenModel(Exception):
    """A model that is not served; the message says why, without a path."""


def read_manifest(directory: Path) -> Manifest:
    """Returns the manifest of ``<models>/<name>/<version>``.

    Raises:
        BrokenModel: No manifest, a wrong one, or that of another name or version.
    """
    try:
        with (directory / FILE_NAME).open("rb") as file:
            text = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BrokenModel(f"{FILE_NAME}: {error.strerror}") from None
    if len(text) > _MAX_MANIFEST_BYTES:
        raise BrokenModel(f"{FILE_NAME} is larger than {_MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = Manifest.from_json(text)
    except ManifestError as error:
        raise BrokenModel(f"{FILE_NAME}: {error}") from None
    named = f"{manifest.name}/{manifest.version}"
    lies_in = f"{directory.parent.name}/{directory.name}"
    if named != lies_in:
        raise BrokenModel(f"{FILE_NAME} names {named}, but lies in {lies_in}")
    if not manifest.staged:
        raise BrokenModel(f"{FILE_NAME} must list the stages " + ", ".join(STAGE_FILES))
    return manifest


def read_files(directory: Path, manifest: Manifest) -> dict[str, bytes]:
    """Returns the content of every file that the manifest lists, by its name.

    Raises:
        BrokenModel: A file is missing, has another digest, is not ONNX or uses external data.
    """
    files: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        try:
            content = (directory / name).read_bytes()
        except OSError as error:
            raise BrokenModel(f"{name}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise BrokenModel(f"{name} is not the file that {FILE_NAME} was written for (SHA-256)")
        _refuse_external_data(name, content)
        files[name] = content
    return files


def _refuse_external_data(name: str, content: bytes) -> None:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise BrokenModel(f"{name} is not ONNX") from None
    nodes = [node for function in model.functions for node in function.node]
    for tensor in itertools.chain(_graph_tensors(model.graph), _node_tensors(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise BrokenModel(f"{name} refers to other files for its weights (external data)")


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yields every tensor of a graph, those inside attributes and subgraphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in itertools.chain.from_iterable(node.attribute for node in nodes):
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)
