"""The tensors of a Hugging Face checkpoint, read where they are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # with it numpy knows bfloat16
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from attention_client.explore.errors import ExploreError

__all__ = ["Checkpoint"]

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, each in a file of its own or with others, and config.json."""

    files: Mapping[str, Path]
    config: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Returns what lies in ``folder``.

        Raises:
            ExploreError: No model.safetensors, or files that are not what they should be.
        """
        config = folder / "config.json"
        return cls(_files(folder), _object(config) if config.is_file() else {})

    def read(self, name: str) -> NDArray[np.float32]:
        """Returns a tensor as float32."""
        with _opened(self.files[name]) as file:
            return np.asarray(file.get_tensor(name)).astype(np.float32)

    def rows(self, name: str, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns rows of a tensor [rows, width] as float32 [*ids, width]; the rest stays unread.

        Raises:
            ExploreError: A row that it does not have.
        """
        with _opened(self.files[name]) as file:
            table = file.get_slice(name)
            count, width = table.get_shape()
            wanted, places = np.unique(ids, return_inverse=True)
            if wanted[-1] >= count:
                raise ExploreError(
                    f"the tokenizer's token {wanted[-1]} is none of the {count} rows"
                )
            rows = np.empty((len(wanted), width), np.float32)
            for row, number in zip(rows, wanted.tolist(), strict=True):
                row[:] = table[number : number + 1][0]
            return rows[places.reshape(ids.shape)]

    def number(self, key: str, otherwise: float) -> float:
        """Returns a number of config.json."""
        value = self.config.get(key)
        return float(value) if isinstance(value, int | float) else otherwise


def _files(folder: Path) -> dict[str, Path]:
    whole, index = folder / _WHOLE, folder / _INDEX
    if whole.is_file():
        with _opened(whole) as file:
            return dict.fromkeys(file.keys(), whole)
    if not index.is_file():
        raise ExploreError(f"{folder} has no {_WHOLE}, which embeddings are read from")
    names = _object(index).get("weight_map")
    if not isinstance(names, dict):
        raise ExploreError(f"{index}: its weight_map must name a file for each tensor")
    return {name: folder / Path(str(file)).name for name, file in names.items()}


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="np")
    except (OSError, SafetensorError) as error:
        raise ExploreError(f"{path}: no safetensors file") from error


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExploreError(f"{path}: no JSON") from error
    if not isinstance(content, dict):
        raise ExploreError(f"{path}: no JSON object")
    return content
