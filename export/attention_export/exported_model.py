"""Model directories read back: the manifest, and the graphs that it vouches for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from attention_export.errors import DamagedModelError, ExportError
from attention_export.servable_graph import check_servable
from attention_service.manifest import FILE_NAME, Manifest, ManifestError

__all__ = ["ExportedModel", "find_models", "parse_graph", "read_model"]

# What the tensors are that a layer takes and gives.
_TYPES = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.BOOL,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
    }
)


@dataclass(frozen=True)
class ExportedModel:
    """One version of one model, as it was exported."""

    manifest: Manifest
    graphs: Mapping[str, bytes]
    """Serialized ONNX models by file name; their digests are the manifest's."""


def find_models(directory: Path) -> list[Path]:
    """Returns the directories of all versions in a version's, a model's or a models directory.

    Hidden directories, in which exports are written before they are whole, are left out.

    Raises:
        DamagedModelError: There is none.
    """
    found = {
        path.parent
        for below in ("", "*/", "*/*/")
        for file in (FILE_NAME, "*.onnx")
        for path in directory.glob(below + file)
        if not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }
    if not found:
        raise DamagedModelError(
            f"{directory} holds no exported model: there is neither {FILE_NAME} nor "
            f"NAME/VERSION/{FILE_NAME}"
        )
    return sorted(found, key=_by_number)


def read_model(directory: Path) -> ExportedModel:
    """Returns one version of a model, whose graphs are those that its manifest vouches for.

    They are such as servers take: whoever wrote them, they run once and read no other file.

    Raises:
        DamagedModelError: A file that is missing, cannot be read, or is not the one exported; a
            graph that no server would take.
    """
    try:
        manifest = Manifest.from_json(_read(directory / FILE_NAME))
    except ManifestError as error:
        raise DamagedModelError(f"{directory / FILE_NAME} is no manifest: {error}") from None
    graphs = {name: _read(directory / name) for name in manifest.files}
    for name, graph in graphs.items():
        if hashlib.sha256(graph).hexdigest() != manifest.files[name]:
            raise DamagedModelError(
                f"{directory / name} is not the file that was exported: its SHA-256 is not that "
                "in the manifest; export the model again"
            )
        _check_graph(str(directory / name), graph)
    return ExportedModel(manifest, graphs)


def parse_graph(name: str, graph: bytes) -> onnx.ModelProto:
    """Returns one of a model's graphs.

    Raises:
        DamagedModelError: No ONNX model, or one that no server would take.
    """
    try:
        check_servable(graph)
        return onnx.load_model_from_string(graph)
    except DecodeError:
        raise DamagedModelError(f"{name} is no ONNX model") from None
    except ExportError as error:
        raise DamagedModelError(f"{name}: {error}") from None


def _check_graph(name: str, content: bytes) -> None:
    graph = parse_graph(name, content).graph
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError:
        raise DamagedModelError(f"{name} is no valid ONNX model") from None
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type not in _TYPES:
            raise DamagedModelError(
                f"{name}: {value.name[:64]!r} must be a tensor of float32, bool, int32 or int64"
            )


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise DamagedModelError(f"{path} is no regular file")
        return path.read_bytes()
    except OSError as error:
        raise DamagedModelError(f"{path} cannot be read: {error.strerror}") from None


def _by_number(path: Path) -> list[str | int]:
    """Returns a key by which layer 10 and version 10 come after 9."""
    parts = re.split("([0-9]+)", str(path))
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
