"""Ways to break a good model's directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention_service.manifest import FILE_NAME

__all__ = ["Break", "link", "manifest", "nothing", "remove", "replaced", "write"]

Break = Callable[[Path], None]
"""Changes ``<models>/<name>/<version>`` in place."""


def nothing(directory: Path) -> None:
    """Leaves the model as it is: its place is what is wrong."""


def remove(name: str) -> Break:
    return lambda directory: (directory / name).unlink()


def write(name: str, content: bytes) -> Break:
    def apply(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return apply


def link(name: str, target: str | Path) -> Break:
    """Puts a symbolic link in place of a file."""

    def apply(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).symlink_to(target)

    return apply


def manifest(**changes: Any) -> Break:
    """Changes fields of the manifest; those in "defaults" too, by their own names."""

    def apply(directory: Path) -> None:
        document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        for name, value in changes.items():
            target = document["defaults"] if name in document["defaults"] else document
            target[name] = value
        (directory / FILE_NAME).write_text(json.dumps(document), encoding="utf-8")

    return apply


def replaced(name: str, change: Callable[[bytes], bytes]) -> Break:
    """Replaces a file by what is made from it, and its digest too: only the content is wrong."""

    def apply(directory: Path) -> None:
        content = change((directory / name).read_bytes())
        (directory / name).write_bytes(content)
        document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        document["files"][name] = hashlib.sha256(content).hexdigest()
        (directory / FILE_NAME).write_text(json.dumps(document), encoding="utf-8")

    return apply
