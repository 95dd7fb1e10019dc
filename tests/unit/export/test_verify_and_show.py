"""``attention-export verify`` and ``show``, and what they say of models that are not right."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from rich.console import Console

from attention_export.cli import main

BUILT_IN = Path(__file__).parents[3] / "server/attention_server/models/built_in"
TENSORS = ["output", "weights", "query_heads", "key_heads", "value_heads", "head_outputs"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The demo model twice, to be damaged."""
    for name in ("demo", "other"):
        shutil.copytree(BUILT_IN / "demo", tmp_path / name)
        edit_manifest(tmp_path / name / "1", name=name)
    return tmp_path


def edit_manifest(directory: Path, **fields: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def nudge(directory: Path, name: str) -> None:
    """Moves a graph's largest weight by a thousandth, its digest too."""
    model = onnx.load(directory / name)
    tensor = max(model.graph.initializer, key=lambda x: int(np.prod(x.dims)))
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[np.abs(weights).argmax()] *= 1.001
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    replace(directory, name, model.SerializeToString())


def replace(directory: Path, name: str, graph: bytes) -> None:
    (directory / name).write_bytes(graph)
    files = json.loads((directory / "manifest.json").read_text())["files"]
    edit_manifest(directory, files={**files, name: hashlib.sha256(graph).hexdigest()})


def edit_graph(change: Callable[[ModelProto], object]) -> Callable[[Path], None]:
    """Returns what changes the last of a layer's graphs, its digest too."""

    def edit(directory: Path) -> None:
        model = onnx.load(directory / "combine.onnx")
        change(model)
        replace(directory, "combine.onnx", model.SerializeToString())

    return edit


def loop(model: ModelProto) -> None:
    """Adds a loop of 2^62 turns."""
    body = parser.parse_graph("body (int64 i, bool go) => (bool on) { on = Identity(go) }")
    turns = numpy_helper.from_array(np.array(2**62), "turns")
    model.graph.initializer.append(turns)
    model.graph.node.append(helper.make_node("Loop", ["turns", ""], [], body=body))


def kept_elsewhere(model: ModelProto) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def text_beside(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["output"], ["text"], to=TensorProto.STRING))
    model.graph.output.append(helper.make_tensor_value_info("text", TensorProto.STRING, []))


def nothing_given(model: ModelProto) -> None:
    """Makes the output one of no rows."""
    node = next(node for node in model.graph.node if "output" in node.output)
    node.output[:] = ["rows"]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(0, np.int64), "none"))
    model.graph.node.append(helper.make_node("Gather", ["rows", "none"], ["output"], axis=1))


def pipe(directory: Path) -> None:
    (directory / "manifest.json").unlink()
    os.mkfifo(directory / "manifest.json")


def test_every_kind_of_layer_is_verified(
    every_kind: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(every_kind)]) == 0
    output = capsys.readouterr()
    columns, *rows, verdict = output.out.splitlines()
    assert columns.split() == ["model", "tensor", "max", "error", "at", "export"]
    found = {(row.split()[0], row.split()[1]) for row in rows}
    staged = {*TENSORS, "staged_output", "staged_weights"}
    assert found == {
        *(("biased/1", tensor) for tensor in {*staged, "position_bias"}),
        *((f"{name}/1", tensor) for name in ("grouped", "rotated") for tensor in staged),
        *(("whole/1", tensor) for tensor in ("output", "weights")),
    }
    assert all(float(row.split()[2]) <= 1e-5 for row in rows)
    assert verdict.startswith("4 of 4 verified")
    assert output.err.splitlines()[0] == f"[1/4] {every_kind / 'biased' / '1'}"


def test_error_at_export_stands_beside_that_of_today(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(models / "demo" / "1", parity={"output": 1.5e-6})
    assert main(["verify", str(models / "demo" / "1")]) == 0
    recorded = {
        row.split()[1]: row.split()[3] for row in capsys.readouterr().out.splitlines()[1:-1]
    }
    assert recorded.pop("output") == "1.5e-06"
    assert set(recorded.values()) == {"-"}


def test_table_is_drawn_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    assert main(["verify", str(BUILT_IN)]) == 0
    output = capsys.readouterr()
    assert "demo/1: verifying" in output.err
    assert "─" in output.out


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "graph of other bytes": (
        lambda place: (place / "combine.onnx").write_bytes(b"other"),
        "combine.onnx is not the file that was exported: its SHA-256 is not that in the manifest",
    ),
    "missing graph": (
        lambda place: (place / "combine.onnx").unlink(),
        "combine.onnx cannot be read: No such file or directory",
    ),
    "missing manifest": (
        lambda place: (place / "manifest.json").unlink(),
        "manifest.json cannot be read: No such file or directory",
    ),
    "manifest of another format": (
        lambda place: edit_manifest(place, format=2),
        "manifest.json is no manifest: format must be 1",
    ),
    "no ONNX": (
        lambda place: replace(place, "combine.onnx", b"nothing"),
        "combine.onnx is no ONNX model",
    ),
    "loop": (
        edit_graph(loop),
        (
            "combine.onnx: no server takes the graph: it has loops or branches; "
            "a graph that is served is flat (Loop)"
        ),
    ),
    "weights elsewhere": (
        edit_graph(kept_elsewhere),
        (
            "combine.onnx: no server takes the graph: it refers to other files for its weights "
            "(external data)"
        ),
    ),
    "value from nowhere": (
        edit_graph(
            lambda model: model.graph.node.append(helper.make_node("Abs", ["nowhere"], ["found"]))
        ),
        "combine.onnx is no valid ONNX model",
    ),
    "text": (
        edit_graph(text_beside),
        "combine.onnx: 'text' must be a tensor of float32, bool, int32 or int64",
    ),
    "pipe": (pipe, "manifest.json is no regular file"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["verify", "show"])
def test_damaged_model_is_named_in_one_line(
    command: str, fault: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = models / "demo" / "1"
    damage, message = FAULTS[fault]
    damage(place)
    assert main([command, str(place)]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("attention-export: error: ")
    assert message in line
    assert line.count(str(place)) == 1


@pytest.mark.parametrize("name", ["model.onnx", "project_query.onnx", "combine.onnx"])
def test_graph_that_computes_something_else_is_found(
    name: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nudge(models / "demo" / "1", name)
    assert main(["verify", str(models)]) == 1
    output = capsys.readouterr()
    assert {row.split()[0] for row in output.out.splitlines()[1:-1]} == {"other/1"}
    assert output.out.splitlines()[-1].startswith("1 of 2 verified")
    line = output.err.splitlines()[-1]
    assert line.startswith(f"attention-export: error: {models / 'demo' / '1'}: ")
    assert "off float64, relative to its largest magnitude; at most 1e-05 is right" in line


def test_nothing_verified_is_no_table(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "demo" / "1" / "combine.onnx").unlink()
    assert main(["verify", str(models / "demo")]) == 1
    assert capsys.readouterr().out == "0 of 1 verified\n"


def test_model_that_nobody_thought_of_hides_no_other(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_graph(nothing_given)(models / "demo" / "1")
    assert main(["verify", str(models)]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[-1].startswith("1 of 2 verified")
    line = output.err.splitlines()[-1]
    assert f"{models / 'demo' / '1'}: it cannot be looked at: ValueError: " in line


def test_models_are_shown_beside_one_that_is_damaged(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("third", "zeroth"):
        shutil.copytree(models / "demo", models / name)
    (models / "other" / "1" / "combine.onnx").unlink()
    assert main(["show", str(models)]) == 1
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [line for line in lines if line.endswith(", version 1")] == ["demo, version 1"] * 3
    assert lines[lines.index("demo, version 1", 1) - 2 :][1] == ""
    assert output.err.count("\n") == 1
    assert "other/1/combine.onnx cannot be read" in output.err


def test_layer_is_described(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(every_kind / "rotated")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rotated, version 1"
    facts = {line[2:12].rstrip(): line[13:] for line in lines[1 : lines.index("")]}
    assert len(facts.pop("digest")) == 64
    assert facts.pop("parity").startswith("at most ")
    assert facts == {
        "source": "none",
        "widths": "query 10, key 10, value 10 → output 10",
        "heads": "4 on 2 of 6",
        "scale": "0.408248",
        "softcap": "2",
        "causality": "lower_right",
        "window": "3 before",
        "positions": "rotary: they turn the heads of queries and keys",
        "masks": "any",
        "outputs": "output, weights, scores, projections, head_outputs, log_sum_exp",
        "opset": "23",
    }


def test_layer_that_comes_whole_keeps_its_scale_to_itself(
    every_kind: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(every_kind / "whole")]) == 0
    text = capsys.readouterr().out
    assert "  heads      1\n  scale      in the graph\n  softcap    in the graph\n" in text
    assert "  masks      those of true and false, one for all heads\n" in text
    assert "→ Softmax →" in text


def test_layer_without_weights_keeps_its_heads_to_itself(
    every_kind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(every_kind / "whole", tmp_path / "whole")
    edit_manifest(tmp_path / "whole" / "1", outputs=["output"])
    assert main(["show", str(tmp_path)]) == 0
    assert "  heads      in the graph\n  scale      in the graph\n" in capsys.readouterr().out


PROJECT_QUERY = """
project_query.onnx
  query            float32 [batch, query_len, 10]
  query_positions  int32 [batch, query_len]
  → query_heads    float32 [batch, 4, query_len, 6]
  query → MatMul → Add → Reshape → Transpose → RMSNormalization → a
  query_positions → Cast → Unsqueeze → Mul → b
  b → Cos → Mul → c
  b → Sin → Mul → d
  a, c, d → RotaryEmbedding → query_heads

"""


def test_graphs_are_drawn(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(every_kind)]) == 0
    text = capsys.readouterr().out
    assert PROJECT_QUERY in text
    assert "bool [mask_batch, mask_heads, query_len, kv_len]" in text
    assert [line for line in text.splitlines() if line.endswith(", version 1")] == [
        "biased, version 1",
        "grouped, version 1",
        "rotated, version 1",
        "whole, version 1",
    ]


def test_names_of_others_cannot_command_a_terminal(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(models / "demo" / "1", source={"family": "\x1b[2Jgone"})
    assert main(["show", str(models / "demo" / "1")]) == 0
    assert "  source     family �[2Jgone\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "show"])
def test_names_of_others_cannot_command_a_terminal_in_what_goes_wrong(
    command: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = models / "\x1b[2Jgone" / "1"
    place.mkdir(parents=True)
    (place / "manifest.json").touch()
    assert main([command, str(place)]) == 1
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert "/�[2Jgone/1/manifest.json is no manifest: " in line


@pytest.mark.parametrize("command", ["verify", "show"])
def test_machine_without_torch_is_enough(command: str) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx_ir', 'onnxscript', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from attention_export.cli import main\n"
        f"sys.exit(main(['{command}', {str(BUILT_IN)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
