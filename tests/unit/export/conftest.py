"""One layer whose sizes all differ, exported once for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from attention_export import MultiHeadAttention, fresh_layer
from attention_export.cli import main
from attention_export.float64_layer import Float64Layer
from attention_export.layer_export import export, manifest_of
from attention_export.model_directory import write_model_directory
from attention_export.sources.digest import digest
from attention_export.stages import file_names, layer_graph
from attention_export.verification import verify
from attention_service.manifest import FILE_NAME, MODEL_FILE, STAGE_FILES

from .layers import BIASED, LAYERS, ROTATED, CosineAttention

Arrays = dict[str, NDArray[Any]]
RunGraph = Callable[[bytes, Mapping[str, Any]], Arrays]
ExportedLayer = Callable[[str], tuple[MultiHeadAttention, dict[str, bytes]]]


@pytest.fixture(scope="session")
def fresh_command() -> list[str]:
    """The command line that exports ``layer``, without --out."""
    return [
        "fresh",
        *("--embed-dim", "24", "--num-heads", "6", "--num-kv-heads", "3"),
        *("--key-dim", "10", "--value-dim", "12", "--output-dim", "14"),
        *("--head-dim", "5", "--value-head-dim", "7", "--seed", "7", "--name", "grouped"),
    ]


@pytest.fixture(scope="session")
def layer() -> MultiHeadAttention:
    return fresh_layer(
        24,
        6,
        seed=7,
        num_kv_heads=3,
        key_dim=10,
        value_dim=12,
        output_dim=14,
        head_dim=5,
        value_head_dim=7,
    ).module


@pytest.fixture(scope="session")
def other_process(
    fresh_command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that exports ``layer`` as well, beside the tests; and the directory it writes."""
    models = tmp_path_factory.mktemp("other-models")
    program = "import sys; from attention_export.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, *fresh_command, "--out", str(models)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=models,
    ) as process:
        yield process, models / "grouped" / "1"
        process.kill()


@pytest.fixture(scope="session")
def model_directory(
    fresh_command: list[str],
    other_process: tuple[subprocess.Popen[bytes], Path],  # which so has begun
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """``layer`` as the command line exports it."""
    models = tmp_path_factory.mktemp("models")
    assert main([*fresh_command, "--out", str(models)]) == 0
    return models / "grouped" / "1"


@pytest.fixture(scope="session")
def graphs(model_directory: Path) -> dict[str, bytes]:
    """The graphs of ``layer`` by file name."""
    return {name: (model_directory / name).read_bytes() for name in (MODEL_FILE, *STAGE_FILES)}


@pytest.fixture(scope="session")
def exported_layer() -> ExportedLayer:
    """Gives one of ``LAYERS`` and its graphs by file name, exported once."""

    @cache
    def exported(name: str) -> tuple[MultiHeadAttention, dict[str, bytes]]:
        layer = LAYERS[name]()
        return layer, {file: layer_graph(layer, file) for file in file_names(layer)}

    return exported


@pytest.fixture(scope="session")
def every_kind(
    model_directory: Path, exported_layer: ExportedLayer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory of models, one of every kind of layer."""
    models = tmp_path_factory.mktemp("every-kind")
    shutil.copytree(model_directory, models / "grouped" / "1")
    for name, kind in {"rotated": ROTATED, "biased": BIASED}.items():
        layer, graphs = exported_layer(kind)
        manifest = manifest_of(
            layer,
            graphs,
            name=name,
            causal="lower_right",
            window=(3, None),
            source={"digest": digest(layer.state_dict())},
        )
        manifest = replace(manifest, parity=verify(manifest, graphs, Float64Layer(layer)))
        files = {**graphs, FILE_NAME: manifest.to_json().encode()}
        write_model_directory(models / name / "1", files)
    export(CosineAttention(8), models=models, name="whole", query_dim=8)
    return models


@pytest.fixture(scope="session")
def committed_graphs() -> dict[str, bytes]:
    """The attention graphs that the server package holds, by file name."""
    root = Path(__file__).parents[3]
    directory = root / "server" / "attention_server" / "engine" / "graphs"
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.onnx"))}


@pytest.fixture(scope="session")
def run_graph() -> RunGraph:
    """Runs a serialized graph and gives its outputs by name."""
    sessions: dict[bytes, Any] = {}

    def run(graph: bytes, inputs: Mapping[str, Any]) -> Arrays:
        if graph not in sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            sessions[graph] = onnxruntime.InferenceSession(graph, options)
        names = [output.name for output in sessions[graph].get_outputs()]
        results = sessions[graph].run(None, dict(inputs))
        return dict(zip(names, map(np.asarray, results), strict=True))

    return run
