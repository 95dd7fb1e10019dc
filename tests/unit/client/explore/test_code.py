"""The Python that the page offers is run, and gets the numbers that the page got."""

from __future__ import annotations

import io
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.client.explore.called import SENTENCE, post
from tests.unit.client.explore.test_uploads import npz

TEXT = {"text": SENTENCE}
TWO = {"text": "天气", "second": "说\"好'\n就去玩\\", "role": "batch"}
KEYS = {**TWO, "role": "keys"}


@pytest.mark.parametrize(
    "ask",
    [
        {"model": "demo", "input": TEXT, "query": 11},
        {"model": "demo", "input": TEXT, "version": "1", "causal": "lower_right"},
        {"model": "demo", "input": TEXT, "window": [2, None], "heads": [3, 1]},
        {"model": "demo", "input": TWO, "sequence": 1},
        {"model": "demo", "input": TWO, "padding": False},
        {"model": "sdpa", "input": KEYS, "num_heads": 8},
        {"model": "demo", "input": {"text": "天气" * 120}, "query": 7},
    ],
)
def test_code_for_a_text_makes_the_same_call(
    page: str, tmp_path: Path, ask: dict[str, Any]
) -> None:
    check_same(page, tmp_path, ask)


@pytest.mark.parametrize("given", [("query",), ("query", "key", "value"), ("query", "value")])
def test_code_for_arrays_reads_the_files(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    draws = np.random.default_rng(3)
    named_arrays: dict[str, Any] = {
        name: draws.normal(size=(2, 5, 8)).astype(np.float32) for name in given[:-1]
    }
    content = npz(**named_arrays)
    single = draws.normal(size=(5, 8)).astype(np.float32)
    lone = io.BytesIO()
    np.save(lone, single if given == ("query",) else np.stack([single, single]))
    (tmp_path / "a.npz").write_bytes(content)
    (tmp_path / "last.npy").write_bytes(lone.getvalue())
    monkeypatch.chdir(tmp_path)
    named = post(page, "/api/uploads?file=a.npz", content).json if given[:-1] else {}
    last = post(page, "/api/uploads?file=last.npy", lone.getvalue()).json
    arrays = {name: {"upload": named["upload"], "name": name} for name in given[:-1]}
    arrays[given[-1]] = {"upload": last["upload"]}

    check_same(page, tmp_path, {"model": "sdpa", "num_heads": 2, "input": arrays})


def check_same(page: str, folder: Path, ask: dict[str, Any]) -> None:
    program = folder / "attention.py"
    program.write_bytes(post(page, "/api/code", ask).content)
    result = runpy.run_path(str(program))["result"]

    content = post(page, "/api/data", ask).content
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        ours = result.arrays()
        assert "weights" in ours
        for name, array in ours.items():
            np.testing.assert_array_equal(array, arrays[name])
