from __future__ import annotations

import stat
from pathlib import Path

import pytest

from attention_export import ExportError, InvalidNameError, ModelExistsError
from attention_export.model_directory import check_destination, write_model_directory

FILES = {"model.onnx": b"graph", "manifest.json": b"{}"}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A directory of models in which there is mine, version 1."""
    write_model_directory(tmp_path / "models" / "mine" / "1", {"old": b"old"})
    return tmp_path / "models"


def test_existing_version_is_refused(models: Path) -> None:
    with pytest.raises(ModelExistsError, match=r"mine version 1 exists already .*--overwrite"):
        check_destination(models, "mine", "1", overwrite=False)


def test_existing_version_may_be_overwritten(models: Path) -> None:
    directory = models / "mine" / "1"
    assert check_destination(models, "mine", "1", overwrite=True) == directory


def test_other_version_is_free(models: Path) -> None:
    assert check_destination(models, "mine", "2", overwrite=False) == models / "mine" / "2"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("", "1"),
        ("a/b", "1"),
        ("..", "1"),
        (".hidden", "1"),
        ("x" * 65, "1"),
        ("sdpa", "1"),
        ("naïve", "1"),
        ("mine\n", "1"),
        ("mine", ""),
        ("mine", "0"),
        ("mine", "01"),
        ("mine", "1.0"),
        ("mine", "-1"),
    ],
)
def test_names_that_no_server_serves_are_refused(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError):
        check_destination(tmp_path, name, version, overwrite=True)


def test_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    write_model_directory(tmp_path / "models" / "mine" / "1", FILES)
    assert contents(tmp_path / "models" / "mine" / "1") == FILES
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine"]


def test_existing_version_is_replaced_as_a_whole(models: Path) -> None:
    write_model_directory(models / "mine" / "1", FILES)
    assert contents(models / "mine" / "1") == FILES
    assert [path.name for path in models.iterdir()] == ["mine"]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    write_model_directory(tmp_path / "models" / "mine" / "1", FILES)
    (tmp_path / "ordinary").mkdir()
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "ordinary", tmp_path / "models" / "mine" / "1")
    }
    assert len(modes) == 1


@pytest.mark.parametrize("version", ["1", "2"], ids=["overwriting", "new"])
def test_failure_leaves_all_as_it_was(
    version: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = models / "mine" / version
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target == destination and (path / "model.onnx").exists():
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ExportError, match="No space left on device"):
        write_model_directory(destination, FILES)
    assert contents(models / "mine" / "1") == {"old": b"old"}
    assert [path.name for path in models.iterdir()] == ["mine"]
    assert [path.name for path in (models / "mine").iterdir()] == ["1"]
