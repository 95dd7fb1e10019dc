"""``examples/plain_onnxruntime.py``: exported layers run without anything of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALONE = """
import runpy, sys
runpy.run_path("examples/plain_onnxruntime.py", run_name="__main__")
roots = {name.partition(".")[0] for name in sys.modules}
ours = {"attention_client", "attention_export", "attention_server", "attention_service"}
assert not roots & {*ours, "grpc", "onnx", "torch"}, roots
"""


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_demo_model_runs_alone() -> None:
    assert run()[:5] == [
        "demo: query, key, value, attend_mask -> output, weights",
        "output [2, 6, 256]",
        "weights [2, 4, 6, 6]",
        "each row sums to 1, within 1e-07",
        "weight on what a query may not see: 0",
    ]


@pytest.mark.parametrize(
    ("name", "inputs", "output", "weights"),
    [
        ("grouped", "", "[2, 6, 14]", "[2, 6, 6, 6]"),
        ("rotated", ", query_positions, key_positions", "[2, 6, 10]", "[2, 4, 6, 6]"),
        ("whole", "", "[2, 6, 8]", "[2, 1, 6, 6]"),
        ("biased", ", query_positions, key_positions", "[2, 6, 10]", "[2, 4, 6, 6]"),
    ],
)
def test_every_kind_of_layer_runs_alone(
    name: str, inputs: str, output: str, weights: str, every_kind: Path
) -> None:
    assert run(str(every_kind / name / "1"))[:3] == [
        f"{name}: query, key, value, attend_mask{inputs} -> output, weights",
        f"output {output}",
        f"weights {weights}",
    ]
