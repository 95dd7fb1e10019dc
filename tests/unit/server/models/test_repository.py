from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from attention_server.domain.model import AttentionSettings, ModelKey, Window
from attention_server.models.repository import BUILT_IN, FoundModel, RefusedModel, find_models
from attention_service.manifest import FILE_NAME, MODEL_FILE, STAGE_FILES, Defaults, Manifest

FILES = {
    name: onnx.ModelProto(ir_version=10, producer_name=name).SerializeToString()
    for name in (MODEL_FILE, *STAGE_FILES)
}


def write_model(root: Path, name: str, version: str = "1", **changes: Any) -> Path:
    """Writes what passes for a model until it is run."""
    directory = root / name / version
    directory.mkdir(parents=True)
    for file, content in FILES.items():
        (directory / file).write_bytes(content)
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "query_dim": 12,
        "key_dim": 8,
        "value_dim": 6,
        "output_dim": 10,
        "head_dim": 4,
        "value_head_dim": 3,
        "defaults": Defaults(4, 2, 0.5, softcap=1.0, causal="upper_left", window_left=7),
        "opset": 23,
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in FILES.items()},
        "source": {"family": "test"},
    }
    manifest = Manifest(**{**fields, **changes})
    (directory / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return directory


def found(*roots: Path) -> list[ModelKey]:
    return [model.model.key for model in find_models(roots) if isinstance(model, FoundModel)]


def refused(*roots: Path) -> dict[str, str]:
    models = (model for model in find_models(roots) if isinstance(model, RefusedModel))
    return {model.name: model.reason for model in models}


def test_every_version_of_every_model_is_found(tmp_path: Path) -> None:
    for name, version in [("b", "1"), ("a", "2"), ("a", "10")]:
        write_model(tmp_path, name, version)

    assert set(found(tmp_path)) == {("a", "2"), ("a", "10"), ("b", "1")}


def test_model_is_what_its_manifest_says(tmp_path: Path) -> None:
    write_model(tmp_path, "layer", outputs=("output",))

    (model,) = find_models([tmp_path])

    assert isinstance(model, FoundModel)
    assert model.files == FILES
    described = model.model
    assert (described.query_dim, described.key_dim, described.value_dim) == (12, 8, 6)
    assert (described.output_dim, described.head_dim, described.value_head_dim) == (10, 4, 3)
    assert described.outputs == ("output",)
    assert described.source == {"family": "test"}
    assert described.defaults == AttentionSettings(
        num_heads=4,
        num_kv_heads=2,
        scale=0.5,
        softcap=1.0,
        causal="upper_left",
        window=Window(7, None),
    )


def test_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(find_models([tmp_path / "nowhere"])) == []


def test_files_and_hidden_directories_are_passed_over(tmp_path: Path) -> None:
    write_model(tmp_path, "layer")
    write_model(tmp_path, ".partial")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "layer" / ".partial").mkdir()
    (tmp_path / "layer" / "notes.txt").write_text("no version")

    assert found(tmp_path) == [("layer", "1")]
    assert refused(tmp_path) == {}


def test_first_root_wins_where_two_hold_the_same_version(tmp_path: Path) -> None:
    for root in ("first", "second"):
        write_model(tmp_path / root, "layer")

    roots = (tmp_path / "first", tmp_path / "second")

    assert found(*roots) == [("layer", "1")]
    assert list(refused(*roots)) == ["layer/1"]
    assert "served already" in refused(*roots)["layer/1"]


def test_other_version_in_another_root_is_found_too(tmp_path: Path) -> None:
    write_model(tmp_path / "first", "layer", "1")
    write_model(tmp_path / "second", "layer", "2")

    assert set(found(tmp_path / "first", tmp_path / "second")) == {("layer", "1"), ("layer", "2")}


@pytest.mark.parametrize("name", ["-a", "a b", "é", "a" * 65, "注意", "two\nlines"])
def test_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "layer").parent.rename(tmp_path / name)

    ((place, reason),) = refused(tmp_path).items()

    assert place.isascii()
    assert place.isprintable()
    assert reason.startswith("a name is")


@pytest.mark.parametrize("version", ["0", "01", "v1", "1.0", "1" * 19])
def test_version_that_is_none_is_refused(tmp_path: Path, version: str) -> None:
    write_model(tmp_path, "layer").rename(tmp_path / "layer" / version)

    (reason,) = refused(tmp_path).values()

    assert reason.startswith("a version is")


def test_name_of_the_built_in_model_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path, "sdpa")

    assert refused(tmp_path) == {"sdpa/1": "the name sdpa is taken"}


def test_broken_model_does_not_hide_the_next(tmp_path: Path) -> None:
    (write_model(tmp_path, "a") / STAGE_FILES[0]).unlink()
    write_model(tmp_path, "b")

    assert found(tmp_path) == [("b", "1")]
    assert list(refused(tmp_path)) == ["a/1"]


def test_versions_of_a_model_that_cannot_be_read_do_not_hide_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs these tests may be allowed to read everything.
    for name in ("a", "b", "c"):
        write_model(tmp_path, name)
    scandir = os.scandir

    def refusing(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied")
        if path.name == "b":  # it was there a moment ago
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)

    assert refused(tmp_path) == {"a": "Permission denied", "b": "No such file or directory"}
    assert found(tmp_path) == [("c", "1")]


def test_files_are_read_once(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "layer")
    (model,) = find_models([tmp_path])

    for file in directory.iterdir():
        file.write_bytes(b"changed")
    shutil.rmtree(tmp_path)

    assert isinstance(model, FoundModel)
    assert model.files == FILES


def test_models_that_come_with_the_server_are_whole() -> None:
    assert refused(BUILT_IN) == {}
