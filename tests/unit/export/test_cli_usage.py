from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from attention_export import SourceError
from attention_export.cli import main
from attention_export.cli.arguments import parse
from attention_export.cli.jobs import jobs
from attention_export.sources.families import FAMILIES


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["fresh", "--num-heads", "2", "--name", "x"],
        ["fresh", "--embed-dim", "0", "--num-heads", "2", "--name", "x"],
        ["fresh", "--embed-dim", "8", "--num-heads", "two", "--name", "x"],
        ["fresh", "--embed-dim", "8", "--num-heads", "2", "--name", "x", "--seed", "-1"],
        ["fresh", "--embed-dim", "8", "--num-heads", "2", "--name", "x", "--causal", "maybe"],
        ["huggingface", "dir", "--name", "x", "--layers", "3-1"],
        ["huggingface", "dir", "--name", "x", "--layers", "encoder."],
        ["verify"],
        ["show"],
        ["graphs"],
    ],
)
def test_command_line_that_makes_no_sense_is_answered_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: attention-export" in capsys.readouterr().err


COMMANDS = ["huggingface", "torch", "fresh", "families", "verify", "show", "graphs"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_shows_how(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text or command in (["families"], ["graphs"])
    assert max(map(len, text.splitlines())) <= 100


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; import attention_export; from attention_export.cli import main\n"
        "try: main(['fresh', '--help'])\n"
        "finally: assert not {'torch', 'onnx', 'onnxruntime', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_families_are_listed_with_what_each_brings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families"]) == 0
    columns, *rows = capsys.readouterr().out.splitlines()
    assert columns.split("  ", 1)[0] == "model_type"
    assert [row.split("  ", 1)[0] for row in rows] == [
        ", ".join(family.model_types) for family in FAMILIES
    ]
    assert all(family.brings in row for family, row in zip(FAMILIES, rows, strict=True))


def test_every_attention_of_a_state_dict_is_exported_under_its_own_name(tmp_path: Path) -> None:
    block = torch.nn.TransformerDecoderLayer(8, 2, batch_first=True)
    model = torch.nn.ModuleDict({f"layers{i}": block for i in (10, 9)})
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    command = ["torch", str(path), "--all", "--num-heads", "2", "--name", "mine"]

    def names(*more: str) -> list[str]:
        return [job.name for job in jobs(parse([*command, "--out", str(tmp_path), *more]))]

    ninth = ["mine.layers9.multihead_attn", "mine.layers9.self_attn"]
    assert names() == [*ninth, "mine.layers10.multihead_attn", "mine.layers10.self_attn"]
    assert names("--prefix", "layers9") == ninth
    assert names("--prefix", "layers9.self_attn.") == ninth[1:]
    for job in jobs(parse([*command, "--out", str(tmp_path)])):
        layer = job.read()
        assert f"mine.{layer.source['layer']}" == job.name
        own = tensors[f"{layer.source['layer']}.out_proj.weight"]
        assert torch.equal(layer.module.w_o.weight, own)
    with pytest.raises(SourceError, match=r"no .* under layers1; there is one under: layers9"):
        names("--prefix", "layers1")
