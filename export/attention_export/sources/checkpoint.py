"""Tensors by name in safetensors files, read one at a time; pickles are never opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from attention_export.errors import SourceError

__all__ = ["PICKLE_SUFFIXES", "Checkpoint"]

PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_STORED_FLOATS = ("F32", "F16", "BF16", "F64")  # as a file's header has them
_LFS_POINTER = b"version https://git-lfs"


class Checkpoint:
    """The tensors of some safetensors files.

    Args:
        files: The file that holds each tensor, by the tensor's name.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Reads the names in one file.

        Raises:
            SourceError: No safetensors file.
        """
        if path.suffix in PICKLE_SUFFIXES:
            raise SourceError(
                f"{path} is a pickle by its name, which may run code when it is read; save the "
                "tensors with safetensors.torch.save_file instead"
            )
        with _open(path) as file:
            return cls(dict.fromkeys(file.keys(), path))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def names(self) -> Iterable[str]:
        """Returns the names of all tensors."""
        return self._files.keys()

    def matrix_shape(self, name: str) -> tuple[int, int]:
        """Returns the shape of a matrix, of which the file's header is enough.

        Raises:
            SourceError: A tensor that is missing or is no matrix.
        """
        with self._file(name) as file:
            shape = file.get_slice(name).get_shape()
        if len(shape) != 2:
            raise SourceError(f"tensor {name} is {shape}, where a matrix is right")
        return shape[0], shape[1]

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Checks the tensors of these names by their files' headers alone.

        Raises:
            SourceError: A tensor that is missing, has another shape or another type.
        """
        for name, shape in shapes.items():
            with self._file(name) as file:
                header = file.get_slice(name)
            _check_shape(name, header.get_shape(), shape)
            if header.get_dtype() not in _STORED_FLOATS:
                raise _not_float(name, header.get_dtype())

    def read(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Returns the tensors of these names, as they are stored.

        Raises:
            SourceError: A tensor that is missing, has another shape or is not made of finite
                floating-point numbers.
        """
        return {name: self._tensor(name, shape) for name, shape in shapes.items()}

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        with self._file(name) as file:
            tensor: Tensor = file.get_tensor(name)
        _check_shape(name, tensor.shape, shape)
        if tensor.dtype not in _FLOATS:
            raise _not_float(name, str(tensor.dtype).removeprefix("torch."))
        if not bool(tensor.isfinite().all()):
            raise SourceError(f"tensor {name} is not finite")
        return tensor

    @contextmanager
    def _file(self, name: str) -> Iterator[Any]:
        """Opens the file that holds a tensor."""
        if name not in self._files:
            raise SourceError(f"tensor {name} is missing")
        with _open(self._files[name]) as file:
            if name not in set(file.keys()):  # an index may promise more than the file has
                raise SourceError(f"tensor {name} is missing in {self._files[name].name}")
            yield file


def _check_shape(name: str, shape: Sequence[int], right: Sequence[int]) -> None:
    if tuple(shape) != tuple(right):
        raise SourceError(f"tensor {name} is {list(shape)}, where {list(right)} is right")


def _not_float(name: str, dtype: str) -> SourceError:
    return SourceError(
        f"tensor {name} holds {dtype}, where float16, bfloat16, float32 or float64 is right"
    )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise SourceError(f"{path} cannot be read as safetensors: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        if _is_lfs_pointer(path):
            raise SourceError(f"{path} is a Git LFS pointer; run: git lfs pull") from None
        raise SourceError(f"{path} cannot be read as safetensors: {error}") from error


def _is_lfs_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER
