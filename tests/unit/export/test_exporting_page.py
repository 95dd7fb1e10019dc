"""The page about exporting says what the exporter does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attention_export.sources.families import FAMILIES
from attention_service.manifest import FILE_NAME, Manifest

PAGE = (Path(__file__).parents[3] / "docs" / "exporting.md").read_text(encoding="utf-8")


def test_page_lists_the_families() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    assert rows == [
        [", ".join(f"`{model_type}`" for model_type in family.model_types), family.brings]
        for family in FAMILIES
    ]


def test_modules_are_exported_as_the_page_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = PAGE.partition("## From PyTorch")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        exec(program, {"__name__": "page"})  # noqa: S102 - it is the page's own

    written = {
        path.parents[1].name: Manifest.from_json(path.read_bytes())
        for path in tmp_path.glob(f"models/*/1/{FILE_NAME}")
    }
    assert set(written) == {"mine", "cross", "own"}
    assert [name for name, manifest in written.items() if not manifest.staged] == ["own"]
    assert written["cross"].source["layer"] == "layers.1.multihead_attn"
    assert written["own"].outputs == ("output", "weights")
