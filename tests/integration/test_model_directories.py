"""Broken models beside a good one: each is reported in a line, the good one is served."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from attention_client import AttentionClient, ModelNotFoundError
from attention_server import EmbeddedServer
from attention_service.manifest import FILE_NAME
from tests.integration.broken_models import Break, manifest, nothing, remove, replaced, write
from tests.integration.programs import ServerProcess

QUERY, KEY_VALUE, COMBINE = "project_query.onnx", "project_key_value.onnx", "combine.onnx"


def unlist(name: str) -> Break:
    def apply(directory: Path) -> None:
        document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        del document["files"][name]
        (directory / FILE_NAME).write_text(json.dumps(document), encoding="utf-8")

    return apply


def flip_a_byte(name: str) -> Break:
    def apply(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        content[-1] ^= 1
        (directory / name).write_bytes(content)

    return apply


def with_external_data(location: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        model = onnx.load_model_from_string(content)
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        return model.SerializeToString()

    return change


def with_external_data_in_a_node(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    constant = onnx.TensorProto(
        name="c", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL
    )
    constant.external_data.add(key="location", value="weights.bin")
    node = onnx.helper.make_node("Constant", [], ["never_used"])
    node.attribute.append(onnx.helper.make_attribute("value", constant))
    model.graph.node.append(node)
    return model.SerializeToString()


def with_a_narrower_matrix(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    (matrix,) = (tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    narrower = np.ascontiguousarray(onnx.numpy_helper.to_array(matrix)[1:])
    matrix.CopyFrom(onnx.numpy_helper.from_array(narrower, matrix.name))
    return model.SerializeToString()


def of_a_later_opset(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    model.opset_import[0].version = 999
    return model.SerializeToString()


BROKEN: Mapping[str, tuple[Break, str]] = {
    "manifest-missing/1": (remove(FILE_NAME), "manifest.json: No such file"),
    "manifest-empty/1": (write(FILE_NAME, b""), "manifest.json: it is not JSON"),
    "manifest-huge/1": (write(FILE_NAME, b" " * (2**20 + 1)), "larger than 1048576 bytes"),
    "manifest-newer/1": (manifest(format=2), "format must be 1"),
    "manifest-unknown-field/1": (manifest(extra=1), "unknown field 'extra'"),
    "manifest-wrong-field/1": (manifest(num_heads=0), "defaults.num_heads must be"),
    "named-otherwise/1": (manifest(name="layer"), "names layer/1, but lies in named-otherwise/1"),
    "versioned-otherwise/3": (manifest(version="2"), "but lies in versioned-otherwise/3"),
    "stage-missing/1": (remove(COMBINE), "combine.onnx: No such file"),
    "stage-unlisted/1": (unlist(COMBINE), "manifest.json: files must be combine.onnx, "),
    "digest-wrong/1": (flip_a_byte(QUERY), "project_query.onnx is not the file"),
    "truncated/1": (replaced(KEY_VALUE, lambda content: content[:-7]), KEY_VALUE),
    "garbage/1": (replaced(QUERY, lambda _: b"\xff" * 64), "project_query.onnx is not ONNX"),
    "empty-file/1": (replaced(COMBINE, lambda _: b""), "ONNX"),
    "external-data/1": (replaced(QUERY, with_external_data("weights.bin")), "external data"),
    "external-path/1": (replaced(QUERY, with_external_data("../../layer/1/x")), "external data"),
    "external-constant/1": (replaced(COMBINE, with_external_data_in_a_node), "external data"),
    "output-dim-lies/1": (manifest(output_dim=11), "manifest says output [1, 2, 11]"),
    "head-dim-lies/1": (manifest(head_dim=5), "manifest says query_heads [1, 4, 2, 5]"),
    "value-head-dim-lies/1": (manifest(value_head_dim=4), "manifest says value_heads"),
    "too-many-heads/1": (manifest(num_heads=8), "manifest says query_heads [1, 8, 2, 4]"),
    "too-few-heads/1": (manifest(num_heads=2), "manifest says query_heads [1, 2, 2, 4]"),
    "too-many-kv-heads/1": (manifest(num_kv_heads=4), "manifest says key_heads [1, 4, 3, 4]"),
    "too-few-kv-heads/1": (manifest(num_kv_heads=1), "manifest says key_heads [1, 1, 3, 4]"),
    "query-dim-lies/1": (manifest(query_dim=13), "Got: 13 Expected: 12"),
    "matrix-narrower/1": (replaced(COMBINE, with_a_narrower_matrix), "dimension mismatch"),
    "opset-later/1": (replaced(COMBINE, of_a_later_opset), "Opset 999 is under development"),
    "stages-swapped/1": (
        lambda directory: _swap(directory, QUERY, COMBINE),
        "ONNX Runtime does not run it",
    ),
    "sdpa/1": (nothing, "the name sdpa is taken"),
    "-dash/1": (nothing, "a name is"),
    "two words/1": (nothing, "a name is"),
    "leading-zero/01": (nothing, "a version is"),
    "latest/newest": (nothing, "a version is"),
}
"""By where it lies: what is done to a good model, and what the line about it says."""


def _swap(directory: Path, first: str, second: str) -> None:
    content = {name: (directory / name).read_bytes() for name in (first, second)}
    replaced(first, lambda _: content[second])(directory)
    replaced(second, lambda _: content[first])(directory)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves a good model among the broken ones."""
    directory = tmp_path_factory.mktemp("broken")
    good = models / "layer" / "2"
    for place, (break_, _) in BROKEN.items():
        name, version = place.split("/")
        shutil.copytree(good, directory / name / version)
        manifest(name=name, version=version)(directory / name / version)
        break_(directory / name / version)
    shutil.copytree(models / "layer", directory / "layer")
    (directory / "README.txt").write_text("no model")
    (directory / "layer" / "notes.txt").write_text("no version")
    (directory / ".partial").mkdir()
    (directory / "empty").mkdir()
    with ServerProcess("--models", str(directory), "--no-demo") as server:
        yield server


@pytest.fixture(scope="module")
def lines(server: ServerProcess) -> dict[str, list[str]]:
    """What the log says of each model, by where the model lies."""
    said: dict[str, list[str]] = {}
    for line in server.log:
        if match := re.search(r"ERROR model (.+?/\w+) is not served: (.*)", line):
            said.setdefault(match[1], []).append(match[2])
    return said


@pytest.mark.parametrize("place", BROKEN)
def test_broken_model_is_reported_in_one_line_that_says_why(
    lines: dict[str, list[str]], place: str
) -> None:
    (line,) = lines[place]

    assert BROKEN[place][1] in line


def test_nothing_else_is_logged(server: ServerProcess) -> None:
    assert len(server.log) == len(BROKEN) + 1
    assert "serving layer, sdpa on " in server.log[-1]


def test_no_line_holds_a_path(lines: dict[str, list[str]]) -> None:
    for (line,) in lines.values():
        assert not re.search(r"(?<!\w)/\w|\w+/\w+/", line), line


def test_good_model_is_served_in_all_its_versions_and_no_other(server: ServerProcess) -> None:
    with AttentionClient(server.address) as client:
        served = [(model.name, model.version) for model in client.list_models()]

    assert served == [("layer", "10"), ("layer", "2"), ("sdpa", "1")]


def test_good_model_answers_as_it_does_alone(server: ServerProcess, address: str) -> None:
    embeddings = [np.ones(shape, np.float32) for shape in [(1, 2, 12), (1, 3, 8), (1, 3, 6)]]

    def output(address: str) -> Any:
        with AttentionClient(address) as client:
            return client.attend("layer", *embeddings).output

    assert np.array_equal(output(server.address), output(address))


@pytest.mark.parametrize("place", ["digest-wrong/1", "output-dim-lies/1"])
def test_broken_model_is_not_found(server: ServerProcess, place: str) -> None:
    name, version = place.split("/")

    with AttentionClient(server.address) as client, pytest.raises(ModelNotFoundError):
        client.get_model(name, version)


@pytest.mark.parametrize(
    ("file", "level"),
    [(None, logging.INFO), (".gitkeep", logging.INFO), (FILE_NAME, logging.WARNING)],
    ids=["empty", "a hidden file", "a manifest in the wrong place"],
)
def test_directory_without_models_is_a_warning_only_where_it_holds_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str | None, level: int
) -> None:
    if file is not None:
        (tmp_path / file).touch()

    with caplog.at_level(logging.INFO), EmbeddedServer(tmp_path, demo=False):
        (told,) = (record for record in caplog.records if "no model in" in record.message)

    assert told.levelno == level
