"""Models that mean harm beside a good one: each is refused in a line, the good one is served.

What their graphs may hold is tested file by file with ``models/graph.py``; here is what only a
directory, a running graph or a name can do.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attention_client import AttentionClient
from attention_service.manifest import FILE_NAME
from tests.integration.broken_models import Break, link, manifest, nothing, replaced
from tests.integration.programs import ServerProcess

QUERY, KEY_VALUE, COMBINE = "project_query.onnx", "project_key_value.onnx", "combine.onnx"
GOOD = ("layer", "2")
IS_LINK = "is a symbolic link; a model must lie in the models directory itself"
IS_EXTERNAL = "project_query.onnx refers to other files for its weights"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")


def pipe(name: str) -> Break:
    """Puts a pipe that nobody writes in place of a file."""

    def apply(directory: Path) -> None:
        (directory / name).unlink()
        os.mkfifo(directory / name)

    return apply


def folder(name: str) -> Break:
    def apply(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).mkdir()

    return apply


def grown(name: str, size: int) -> Break:
    """Makes a file so large; it takes no room on the disk."""
    return lambda directory: os.truncate(directory / name, size)


def external(place: Callable[[Path], str]) -> Break:
    """Moves a weight to ``data`` in the model's directory; ``place`` makes what it is named by."""

    def apply(directory: Path) -> None:
        def move(content: bytes) -> bytes:
            model = onnx.load_model_from_string(content)
            tensor = model.graph.initializer[0]
            (directory / "data").write_bytes(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=place(directory))
            return model.SerializeToString()

        replaced(QUERY, move)(directory)

    return apply


def beside(directory: Path) -> str:
    return "data"


def absolute(directory: Path) -> str:
    return str(directory / "data")


def hardlink(directory: Path) -> str:
    """Makes a link that ONNX Runtime by itself would read."""
    os.link(directory / "data", directory / "weights.bin")
    return "weights.bin"


def symlink(directory: Path) -> str:
    (directory / "weights.bin").symlink_to("data")
    return "weights.bin"


def graph(change: Callable[[onnx.GraphProto], None]) -> Callable[[bytes], bytes]:
    def apply(content: bytes) -> bytes:
        model = onnx.load_model_from_string(content)
        change(model.graph)
        return model.SerializeToString()

    return apply


def fills_memory(graph: onnx.GraphProto) -> None:
    """Adds a column to a row, of 100,000 each: 40 GB from 800 kB."""
    for name, shape in {"column": (100_000, 1), "row": (1, 100_000)}.items():
        graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    graph.node.append(helper.make_node("Add", ["column", "row"], ["table"]))
    graph.node.append(helper.make_node("ReduceSum", ["table"], ["sum"], keepdims=0))
    adds_to_output(graph, "sum")


def adds_to_output(graph: onnx.GraphProto, name: str) -> None:
    graph.node[[list(node.output) for node in graph.node].index(["output"])].output[0] = "before"
    graph.node.append(helper.make_node("Add", ["before", name], ["output"]))


def made_for_two_queries(graph: onnx.GraphProto) -> None:
    """Reshapes the output to what it is for a batch of one and two queries."""
    shape = np.array([1, 2, 10])
    graph.initializer.append(numpy_helper.from_array(shape, "shape"))
    graph.node[[list(node.output) for node in graph.node].index(["output"])].output[0] = "before"
    graph.node.append(helper.make_node("Reshape", ["before", "shape"], ["output"]))


def operator(name: str) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: graph.node.append(helper.make_node(name, ["output"], ["more"]))


HARMFUL: Mapping[str, tuple[Break, str]] = {
    "pipe-as-manifest/1": (pipe(FILE_NAME), "manifest.json is not a file"),
    "pipe-as-stage/1": (pipe(QUERY), "project_query.onnx is not a file"),
    "folder-as-manifest/1": (folder(FILE_NAME), "manifest.json: Is a directory"),
    "folder-as-stage/1": (folder(COMBINE), "combine.onnx: Is a directory"),
    "link-to-manifest/1": (link(FILE_NAME, "/etc/passwd"), f"manifest.json {IS_LINK}"),
    "link-to-twin/1": (link(QUERY, "../../layer/2/project_query.onnx"), f"{QUERY} {IS_LINK}"),
    "link-to-zeros/1": (link(QUERY, "/dev/zero"), f"project_query.onnx {IS_LINK}"),
    "link-to-nothing/1": (link(KEY_VALUE, "nowhere"), f"project_key_value.onnx {IS_LINK}"),
    "link-to-itself/1": (link(COMBINE, COMBINE), f"combine.onnx {IS_LINK}"),
    "terabyte-manifest/1": (grown(FILE_NAME, 2**40), "manifest.json is larger than 1048576 bytes"),
    "terabyte-stage/1": (grown(QUERY, 2**40), "project_query.onnx is larger than 2147483647"),
    "external-beside/1": (external(beside), IS_EXTERNAL),
    "external-absolute/1": (external(absolute), IS_EXTERNAL),
    "external-hardlink/1": (external(hardlink), IS_EXTERNAL),
    "external-symlink/1": (external(symlink), IS_EXTERNAL),
    "width-lies/1": (manifest(query_dim=2**31 - 1), "query_dim must be a whole number of 1 to"),
    "heads-lie/1": (manifest(num_heads=2**12, num_kv_heads=1), "manifest says query_heads"),
    "heads-without-end/1": (
        manifest(num_heads=2**30, num_kv_heads=1),
        "defaults.num_heads * head_dim must be at most 1048576",
    ),
    "fills-memory/1": (replaced(COMBINE, graph(fills_memory)), " MiB to load and run"),
    "made-for-two/1": (replaced(COMBINE, graph(made_for_two_queries)), "cannot be reshaped"),
    "colours-the-log/1": (
        replaced(COMBINE, graph(operator("\x1b[31m\x07\N{RIGHT-TO-LEFT OVERRIDE}"))),
        r"\x1b[31m\x07\u202e",
    ),
    "talks-at-length/1": (replaced(COMBINE, graph(operator("a" * 10**6))), "aaa"),
    "two\nlines/1": (nothing, "a name is"),
    "\x1b[2J/1": (nothing, "a name is"),
    "\N{RIGHT-TO-LEFT OVERRIDE}layer/2": (nothing, "a name is"),
    os.fsdecode(b"\xff\xfe/1"): (nothing, "a name is"),
    "layer/" + os.fsdecode(b"\xff"): (nothing, "a version is"),
    "n" * 255 + "/1": (nothing, "a name is"),
    "\N{FIRE}" * 63 + "/1": (nothing, "a name is"),
    "long/" + "1" * 255: (nothing, "a version is"),
}
"""By where it lies: what is done to a good model, and what the line about it says."""

LINKED = {"linked-name": IS_LINK, "linked-version/1": IS_LINK, "linked-to-itself": IS_LINK}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves a good model among those that mean harm, from a directory that is a link itself."""
    directory = tmp_path_factory.mktemp("harmful")
    shutil.copytree(models / "layer", directory / "layer")
    good = directory.joinpath(*GOOD)
    for place, (break_, _) in HARMFUL.items():
        name, version = place.split("/")
        shutil.copytree(good, directory / name / version)
        if break_ is not nothing:
            manifest(name=name, version=version)(directory / name / version)
        break_(directory / name / version)
    (directory / "linked-name").symlink_to(directory / "layer")
    (directory / "linked-to-itself").symlink_to("linked-to-itself")
    (directory / "linked-version").mkdir()
    (directory / "linked-version" / "1").symlink_to(good)
    twin = directory / "LAYER" / "2"
    shutil.copytree(good, twin, copy_function=os.link)
    (twin / FILE_NAME).unlink()
    shutil.copy(good / FILE_NAME, twin)
    manifest(name="LAYER")(twin)
    root = tmp_path_factory.mktemp("linked") / "models"
    root.symlink_to(directory)
    with ServerProcess("--models", str(root), "--no-demo") as server:
        yield server


@pytest.fixture(scope="module")
def lines(server: ServerProcess) -> dict[str, list[str]]:
    """What the log says of each model, by what the log calls it."""
    said: dict[str, list[str]] = {}
    for line in server.log:
        if match := re.search(r" ERROR model (.+?) is not served: (.*)", line):
            said.setdefault(match[1], []).append(match[2])
    return said


@pytest.mark.parametrize(
    ("place", "message"),
    [*((place, message) for place, (_, message) in HARMFUL.items()), *LINKED.items()],
)
def test_harmful_model_is_refused_in_one_line(
    lines: dict[str, list[str]], place: str, message: str
) -> None:
    shown = place.encode("unicode_escape").decode()
    (line,) = lines[shown if len(shown) <= 100 else f"{shown[:100]}..."]

    assert message in line


def test_nothing_else_is_logged(server: ServerProcess) -> None:
    assert len(server.log) == len(HARMFUL) + len(LINKED) + 1
    assert "serving LAYER, layer, sdpa on " in server.log[-1]


def test_every_line_is_short_plain_text(server: ServerProcess) -> None:
    for line in server.log[:-1]:
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 512
        assert not re.search(r"(?<!\w)/\w|\w+/\w+/", line)


def test_good_models_are_served(server: ServerProcess) -> None:
    with AttentionClient(server.address) as client:
        served = {(model.name, model.version) for model in client.list_models()}

    # Names that differ in their case alone are two; a file may have a second hard link.
    assert served == {("layer", "2"), ("layer", "10"), ("LAYER", "2"), ("sdpa", "1")}


@pytest.mark.parametrize("name", ["layer", "LAYER"])
def test_good_model_answers_as_it_does_alone(
    server: ServerProcess, address: str, name: str
) -> None:
    embeddings = [np.ones(shape, np.float32) for shape in [(1, 4, 12), (1, 5, 8), (1, 5, 6)]]

    def output(address: str, name: str) -> Any:
        with AttentionClient(address) as client:
            return client.attend(name, *embeddings, version="2").output

    assert np.array_equal(output(server.address, name), output(address, "layer"))
