"""The command ``attention``, as it is installed, against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_client import AttentionClient
from tests.integration.programs import PATIENCE_SECONDS, environment

COMMAND = Path(sys.executable).parent / "attention"


def attention(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, *rest = arguments
    return subprocess.run(
        [str(COMMAND), command, "--server", address, *rest],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_models_lists_what_the_server_holds(address: str) -> None:
    done = attention(address, "models")

    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = (line.split() for line in done.stdout.splitlines())
    assert header[:2] == ["MODEL", "VERSION"]
    assert [row[:2] for row in rows] == [["layer", "10"], ["layer", "2"], ["sdpa", "1"]]


def test_info_describes_the_server(address: str) -> None:
    done = attention(address, "info")

    assert (done.returncode, done.stderr) == (0, "")
    assert "CPUExecutionProvider" in done.stdout
    assert address in done.stdout


def test_info_describes_a_model(address: str) -> None:
    done = attention(address, "info", "layer", "--model-version", "2")

    assert (done.returncode, done.stderr) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (facts["version"], facts["query_dim"], facts["num_kv_heads"]) == ("2", "12", "2")


def test_attend_saves_what_the_client_gets(address: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"query": (2, 3, 12), "key": (2, 5, 8), "value": (2, 5, 6)}
    embeddings: dict[str, Any] = {
        n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()
    }
    np.savez(tmp_path / "qkv.npz", **embeddings)
    for name, array in embeddings.items():
        np.save(tmp_path / f"{name}.npy", array)

    done = attention(
        address,
        "attend",
        "layer",
        *("--query", str(tmp_path / "query.npy")),
        *("--key", f"{tmp_path / 'qkv.npz'}:key"),
        *("--value", str(tmp_path / "value.npy")),
        *("--kv-lengths", "5,3"),
        *("--causal", "none"),
        "--weights",
        *("--out", str(tmp_path / "result.npz")),
    )

    assert (done.returncode, done.stderr) == (0, "")
    with AttentionClient(address) as client:
        result = client.attend(
            "layer", **embeddings, kv_lengths=[5, 3], causal="none", weights=True
        )
    with np.load(tmp_path / "result.npz") as saved:
        assert set(saved) == {"output", "weights", "fully_masked_rows"}
        for name, array in result.arrays().items():
            assert np.array_equal(saved[name], array), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info", "nobody"), "no model nobody"),
        (("info", "layer", "--model-version", "3"), "has no version 3"),
    ],
    ids=["model", "version"],
)
def test_refusal_is_one_line_and_status_1(
    address: str, arguments: tuple[str, ...], said: str
) -> None:
    done = attention(address, *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("attention: ")
    assert said in line
