"""The files of one version of one model, read once, and no other than its manifest says."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from attention_service.manifest import FILE_NAME, Manifest, ManifestError

__all__ = ["IS_LINK", "BrokenModel", "read_files", "read_manifest"]

IS_LINK = "is a symbolic link; a model must lie in the models directory itself"

_MAX_MANIFEST_BYTES = 1 << 20
_MAX_ONNX_BYTES = (1 << 31) - 1  # protobuf's own bound, and so that of ONNX without external data


class BrokenModel(Exception):
    """A model that is not served; the message says why, without a path."""


def read_manifest(directory: Path) -> Manifest:
    """Returns the manifest of ``<models>/<name>/<version>``.

    Raises:
        BrokenModel: No manifest, a wrong one, or that of another name or version.
    """
    try:
        manifest = Manifest.from_json(_read(directory, FILE_NAME, _MAX_MANIFEST_BYTES))
    except ManifestError as error:
        raise BrokenModel(f"{FILE_NAME}: {error}") from None
    named = f"{manifest.name}/{manifest.version}"
    lies_in = f"{directory.parent.name}/{directory.name}"
    if named != lies_in:
        raise BrokenModel(f"{FILE_NAME} names {named}, but lies in {lies_in}")
    return manifest


def read_files(directory: Path, manifest: Manifest) -> dict[str, bytes]:
    """Returns the content of every file that the manifest lists, by its name.

    Raises:
        BrokenModel: A file is missing, none, too large, or has another digest.
    """
    files: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        content = _read(directory, name, _MAX_ONNX_BYTES)
        if hashlib.sha256(content).hexdigest() != digest:
            raise BrokenModel(f"{name} is not the file that {FILE_NAME} was written for (SHA-256)")
        files[name] = content
    return files


def _read(directory: Path, name: str, most_bytes: int) -> bytes:
    """Returns the content of a regular file, having looked at its kind and size before."""
    try:
        with open(directory / name, "rb", opener=_open_without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise BrokenModel(f"{name} is not a file")
            if about.st_size > most_bytes:
                raise BrokenModel(f"{name} is larger than {most_bytes} bytes")
            return file.read(about.st_size)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BrokenModel(f"{name} {IS_LINK}") from None
        raise BrokenModel(f"{name}: {error.strerror}") from None
    except MemoryError:
        raise BrokenModel(f"{name} is larger than the memory that is left") from None


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens no link, and a pipe without waiting for its writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
