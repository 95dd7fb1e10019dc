from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from attention_export import (
    ExportError,
    MultiHeadAttention,
    VerificationError,
    export,
    layer_export,
)
from attention_service.manifest import MODEL_FILE, STAGE_FILES, Manifest


@pytest.fixture
def exporter_of_graphs(graphs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds of exporting ``layer`` again; all else is as it is."""
    monkeypatch.setattr(layer_export, "layer_graph", lambda layer, name: graphs[name])


def test_manifest_describes_the_files(model_directory: Path) -> None:
    manifest = Manifest.from_json((model_directory / "manifest.json").read_bytes())
    assert manifest.staged
    assert {path.name for path in model_directory.iterdir()} == {
        "manifest.json",
        MODEL_FILE,
        *STAGE_FILES,
    }
    for name, sha256 in manifest.files.items():
        assert hashlib.sha256((model_directory / name).read_bytes()).hexdigest() == sha256


def test_manifest_describes_the_layer(model_directory: Path) -> None:
    manifest = json.loads((model_directory / "manifest.json").read_bytes())
    sizes = {name: size for name, size in manifest.items() if name.endswith("_dim")}
    assert sizes == {
        "query_dim": 24,
        "key_dim": 10,
        "value_dim": 12,
        "output_dim": 14,
        "head_dim": 5,
        "value_head_dim": 7,
    }
    assert manifest["defaults"]["num_heads"] == 6
    assert manifest["defaults"]["num_kv_heads"] == 3
    assert manifest["defaults"]["scale"] == pytest.approx(5**-0.5)
    assert manifest["opset"] == 23
    assert manifest["source"]["family"] == "fresh"
    assert manifest["source"]["seed"] == "7"


def test_manifest_holds_an_error_for_every_tensor(model_directory: Path) -> None:
    parity = json.loads((model_directory / "manifest.json").read_bytes())["parity"]
    assert set(parity) == {
        "output",
        "weights",
        "query_heads",
        "key_heads",
        "value_heads",
        "head_outputs",
        "staged_weights",
        "staged_output",
    }
    assert all(0.0 < error <= 3e-6 for error in parity.values())


@pytest.mark.usefixtures("exporter_of_graphs")
def test_report_says_what_was_written(tmp_path: Path, layer: MultiHeadAttention) -> None:
    steps: list[str] = []
    report = export(
        layer, models=tmp_path, name="mine", version="3", causal="upper_left", on_step=steps.append
    )
    assert report.directory == tmp_path / "mine" / "3"
    assert report.files == {p.name: p.stat().st_size for p in report.directory.iterdir()}
    assert report.parity == report.manifest.parity
    assert report.manifest.defaults.causal == "upper_left"
    assert report.seconds > 0
    assert steps[-2:] == ["verifying", "writing"]
    assert len(steps) == len(report.files) + 1 <= layer_export.STEPS


@pytest.mark.usefixtures("exporter_of_graphs")
def test_digest_is_added_to_the_source(tmp_path: Path, layer: MultiHeadAttention) -> None:
    report = export(layer, models=tmp_path, name="mine", source={"family": "mine"})
    assert list(report.manifest.source) == ["family", "digest"]
    assert len(report.manifest.source["digest"]) == 64
    own = {"family": "mine", "digest": "known"}
    report = export(layer, models=tmp_path, name="mine", source=own, overwrite=True)
    assert report.manifest.source == own


@pytest.mark.usefixtures("exporter_of_graphs")
def test_source_that_no_server_would_take_is_refused_and_nothing_written(
    tmp_path: Path, layer: MultiHeadAttention
) -> None:
    with pytest.raises(ExportError, match="source must be an object of strings, 4096 bytes"):
        export(layer, models=tmp_path, name="mine", source={"text": "x" * 5000})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("exporter_of_graphs")
def test_module_is_left_as_it_is(tmp_path: Path, layer: MultiHeadAttention) -> None:
    layer.train()
    export(layer, models=tmp_path, name="mine")
    assert layer.training
    assert all(parameter.requires_grad for parameter in layer.parameters())


def test_wrong_graph_leaves_nothing_behind(
    tmp_path: Path, layer: MultiHeadAttention, graphs: dict[str, bytes], monkeypatch: Any
) -> None:
    wrong = graphs | {"project_query.onnx": graphs["combine.onnx"]}
    monkeypatch.setattr(layer_export, "layer_graph", lambda layer, name: wrong[name])
    with pytest.raises(VerificationError):
        export(layer, models=tmp_path / "models", name="mine")
    assert not any(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    layer = MultiHeadAttention(8, 2).double()
    with torch.no_grad():
        layer.w_v.weight[0, 0] = 1e200  # finite in float64 only
    with pytest.raises(ExportError, match=r"w_v\.weight is not finite in float32"):
        export(layer, models=tmp_path, name="mine")


def test_layer_too_large_for_one_file_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        layer = MultiHeadAttention(20_000, 8)
    with pytest.raises(ExportError, match=r"the weights take 6\.0 GiB"):
        export(layer, models=tmp_path, name="mine")
