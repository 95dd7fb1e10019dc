from __future__ import annotations

import subprocess
import sys

import pytest

from attention_export.cli import main
from attention_export.cli.layer_selection import LayerSelection


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
        ["huggingface", "dir", "--name", "x", "--layers", "some"],
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


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", [0, 1, 2, 3, 4, 5]), ("3", [3]), ("0,2,5", [0, 2, 5]), ("5,0-2,1", [0, 1, 2, 5])],
)
def test_layers_are_selected(text: str, layers: list[int]) -> None:
    assert LayerSelection(text).of(6) == layers


@pytest.mark.parametrize("command", [[], ["huggingface"], ["torch"], ["fresh"], ["graphs"]])
def test_help_shows_how(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text or command == ["graphs"]
    assert max(map(len, text.splitlines())) <= 100


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; import attention_export; from attention_export.cli import main\n"
        "try: main(['fresh', '--help'])\n"
        "finally: assert not {'torch', 'onnx', 'onnxruntime', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
