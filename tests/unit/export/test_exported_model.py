from __future__ import annotations

from pathlib import Path

import pytest

from attention_export import DamagedModelError
from attention_export.exported_model import find_models


def made(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


MODELS = ("b/1/manifest.json", "a.10/1/manifest.json", "a.9/10/manifest.json", "a.9/9/model.onnx")


@pytest.mark.parametrize(
    ("directory", "found"),
    [
        (".", ["a.9/9", "a.9/10", "a.10/1", "b/1"]),
        ("a.9", ["a.9/9", "a.9/10"]),
        ("b/1", ["b/1"]),
    ],
    ids=["a directory of models", "a model", "a version"],
)
def test_versions_are_found_in_order(directory: str, found: list[str], tmp_path: Path) -> None:
    made(tmp_path, *MODELS, ".b-2-half-written/manifest.json", "b/1/notes.txt", "README.md")
    assert find_models(tmp_path / directory) == [tmp_path / place for place in found]


@pytest.mark.parametrize("directory", [".", "nowhere"])
def test_directory_without_models_is_refused(directory: str, tmp_path: Path) -> None:
    made(tmp_path, "notes.txt", "deep/below/the/surface/manifest.json")
    with pytest.raises(DamagedModelError, match="holds no exported model: there is neither"):
        find_models(tmp_path / directory)
