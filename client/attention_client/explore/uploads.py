"""Arrays that the page uploaded, kept in memory while they are used."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client.explore.asking import UploadedArray
from attention_client.explore.errors import ExploreError

__all__ = ["LARGEST_UPLOAD", "Upload", "Uploads", "arrays_in"]

LARGEST_UPLOAD = 64 << 20
"""Bytes of one file, also once it is unpacked."""
_KEPT = 256 << 20  # bytes of all files
# What numpy and zipfile raise over a file that is broken, encrypted or packed in another way.
_BROKEN = (
    ValueError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Upload:
    """A file: its name, and its arrays by name, of which an .npy file's is empty."""

    file: str
    arrays: dict[str, NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(array.nbytes for array in self.arrays.values())


class Uploads:
    """The last files that were uploaded, by id; the oldest go where they would be too many."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._files: OrderedDict[str, Upload] = OrderedDict()

    def add(self, file: str, content: bytes) -> tuple[str, Upload]:
        """Returns the id of a file, and what is in it.

        Raises:
            ExploreError: No arrays of numbers in it.
        """
        upload = Upload(file, arrays_in(file, content))
        name = str(next(self._numbers))
        self._files[name] = upload
        while sum(kept.nbytes for kept in self._files.values()) > _KEPT:
            self._files.popitem(last=False)
        return name, upload

    def file_of(self, wanted: UploadedArray) -> str:
        """Returns the name of the file that an array came in."""
        return self._find(wanted).file

    def has_batch(self, wanted: UploadedArray) -> bool:
        """Returns whether an array came with a batch dimension."""
        return self._find(wanted).arrays[wanted.name].ndim == 3

    def array(self, wanted: UploadedArray) -> NDArray[Any]:
        """Returns an array [batch, length, width]; one without batch is a batch of one.

        Raises:
            ExploreError: It is not kept any more, or of another rank.
        """
        array = self._find(wanted).arrays[wanted.name]
        if array.ndim not in (2, 3):
            shape = " x ".join(map(str, array.shape)) or "one number"
            raise ExploreError(
                f"{wanted.name or self.file_of(wanted)} is {shape}; embeddings are "
                "[length, width] or [batch, length, width]"
            )
        return array if array.ndim == 3 else array[None]

    def _find(self, wanted: UploadedArray) -> Upload:
        upload = self._files.get(wanted.upload)
        if upload is None or wanted.name not in upload.arrays:
            raise ExploreError("the file is not kept any more: upload it again")
        return upload


def arrays_in(file: str, content: bytes) -> dict[str, NDArray[Any]]:
    """Returns the arrays in an .npy or .npz file; nothing is unpickled.

    Raises:
        ExploreError: Another file, Python objects, too large, or empty.
    """
    _check_size(file, len(content))
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _check_size(file, sum(entry.file_size for entry in archive.infolist()))
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except _BROKEN as error:
        raise ExploreError(f"{file}: no .npy or .npz file of numbers") from error
    if not arrays:
        raise ExploreError(f"{file}: no array in it")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ExploreError(f"{file}: {name} is no array")
        if array.dtype.kind not in "biuf":
            raise ExploreError(f"{name or file}: {array.dtype} is no real number")
    return arrays


def _check_size(file: str, size: int) -> None:
    if size > LARGEST_UPLOAD:
        raise ExploreError(f"{file} is larger than {LARGEST_UPLOAD >> 20} MiB")
