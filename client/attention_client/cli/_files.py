"""Arrays in files: .npy, and .npz, of which one array can be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FileError(Exception):
    """A file that cannot be read or written as what it should be."""


def load_array(location: str) -> NDArray[Any]:
    """Returns the array in a file: "q.npy", "arrays.npz" with one array, "arrays.npz:query".

    Raises:
        FileError: No such file, no array in it, or Python objects, which are never unpickled.
    """
    path, name = location, ""
    if not Path(location).exists() and ".npz:" in location:
        path, _, name = location.rpartition(":")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return _member(path, name, loaded)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise FileError(f"{path}: no .npy or .npz file of numbers or booleans") from error


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes the arrays to an .npz file of exactly this name.

    Raises:
        FileError: It cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # allow_pickle is none of them
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _member(path: str, name: str, archive: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    names = list(archive)
    if not name and len(names) == 1:
        (name,) = names
    if name not in names:
        raise FileError(f"{path} holds {', '.join(names)}: name one of them, {path}:{names[0]}")
    return archive[name]
