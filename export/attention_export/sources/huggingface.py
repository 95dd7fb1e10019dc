"""A directory in Hugging Face format: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attention_export.errors import SourceError
from attention_export.sources.checkpoint import PICKLE_SUFFIXES, Checkpoint
from attention_export.sources.config import Config
from attention_export.sources.families import FAMILIES
from attention_export.sources.layer import SourceLayer

__all__ = ["HuggingFaceModel"]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class HuggingFaceModel:
    """The attention layers of one model directory.

    Args:
        directory: As ``save_pretrained`` writes it.

    Raises:
        SourceError: No such directory, a family that is not read, or no weights in safetensors.
    """

    def __init__(self, directory: Path) -> None:
        self._config = Config(_read_json(directory / _CONFIG))
        family = self._config.text("model_type")
        if family not in FAMILIES:
            raise SourceError(
                f"model_type {family!r} is not a family that is read; those are: "
                + ", ".join(sorted(FAMILIES))
            )
        self._family = FAMILIES[family]
        self._checkpoint = _open_weights(directory)

    @property
    def layer_count(self) -> int:
        """Number of attention layers."""
        return self._family.layer_count(self._config)

    def layer(self, index: int) -> SourceLayer:
        """Returns one layer, counted from 0.

        Raises:
            SourceError: No such layer, or tensors that are missing or misshapen.
        """
        count = self.layer_count
        if not 0 <= index < count:
            raise SourceError(f"there is no layer {index}; the model has layers 0 to {count - 1}")
        return self._family.layer(self._config, self._checkpoint, index)


def _open_weights(directory: Path) -> Checkpoint:
    if (directory / _WEIGHTS).is_file():
        return Checkpoint.open(directory / _WEIGHTS)
    if (directory / _INDEX).is_file():
        return Checkpoint(_shards(directory))
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise SourceError(
            f"{directory} has weights only as pickles ({pickles[0]}), which may run code when they "
            "are read; save it again with save_pretrained(directory, safe_serialization=True)"
        )
    raise SourceError(f"{directory} has neither {_WEIGHTS} nor {_INDEX}")


def _shards(directory: Path) -> dict[str, Path]:
    index = _read_json(directory / _INDEX).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise SourceError(f"{_INDEX} has no weight_map")
    shards = {}
    for tensor, file in index.items():
        if (
            not isinstance(file, str)
            or Path(file).name != file
            or not file.endswith(".safetensors")
        ):
            raise SourceError(f"{_INDEX} names {file!r}, which is no safetensors file beside it")
        shards[tensor] = directory / file
    return shards


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise SourceError(f"{path} is not JSON") from None
    if not isinstance(document, dict):
        raise SourceError(f"{path} must hold one JSON object")
    return document
