"""A model's place, ``<models>/<name>/<version>/``, which is written as a whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from attention_export.errors import ExportError, InvalidNameError, ModelExistsError
from attention_service.manifest import NAME_PATTERN, VERSION_PATTERN

__all__ = ["check_destination", "write_model_directory"]

_BUILT_IN = "sdpa"


def check_destination(models: Path, name: str, version: str, *, overwrite: bool) -> Path:
    """Returns the directory of one version of a model.

    Raises:
        InvalidNameError: A name or version that no server would serve.
        ModelExistsError: The version is there and ``overwrite`` is false.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise InvalidNameError(
            f"{name!r} is no model name; it must be a letter or digit, then letters, digits, "
            "'.', '_' and '-', at most 64 in all"
        )
    if name == _BUILT_IN:
        raise InvalidNameError(f"the name {name!r} is taken: it is built into the server")
    if VERSION_PATTERN.fullmatch(version) is None:
        raise InvalidNameError(
            f"{version!r} is no version; it must be a positive integer without leading zeros"
        )
    directory = models / name / version
    if directory.exists() and not overwrite:
        raise ModelExistsError(
            f"{name} version {version} exists already in {models}; "
            "choose another version or overwrite it (--overwrite)"
        )
    return directory


def write_model_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files into the directory, in place of all that it held.

    They are written beside it first, so that whoever reads finds a whole version or none: the old
    one, the new one, or, in the moment between the two renames that replace one, neither.

    Raises:
        ExportError: The file system refused.
    """
    # A server takes no directory for a model whose name begins with a dot.
    models = directory.parent.parent
    partial = models / f".{directory.parent.name}-{directory.name}-{uuid.uuid4().hex}"
    replaced = partial.with_name(partial.name + "-replaced")
    try:
        partial.mkdir(parents=True)
        for name, data in files.items():
            (partial / name).write_bytes(data)
        directory.parent.mkdir(exist_ok=True)
        if directory.exists():
            directory.rename(replaced)
        partial.rename(directory)
    except OSError as error:
        raise ExportError(f"{directory} cannot be written: {error.strerror}") from error
    finally:
        if replaced.exists() and not directory.exists():
            replaced.rename(directory)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
