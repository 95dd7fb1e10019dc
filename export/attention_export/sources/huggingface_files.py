"""The files of a directory in Hugging Face format: config.json, and weights in safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attention_export.errors import SourceError
from attention_export.sources.checkpoint import PICKLE_SUFFIXES, Checkpoint

__all__ = ["open_weights", "read_config"]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def read_config(directory: Path) -> dict[str, Any]:
    """Returns the fields of config.json.

    Raises:
        SourceError: No such file, or one that is no JSON object.
    """
    if not directory.exists():
        raise SourceError(f"{directory}: no such directory; download the model first")
    if not directory.is_dir():
        raise SourceError(f"{directory} is a file; give its directory")
    if not (directory / _CONFIG).exists():
        raise SourceError(_without_config(directory))
    return _read_json(directory / _CONFIG)


def open_weights(directory: Path) -> Checkpoint:
    """Returns the tensors, in one file or in shards.

    Raises:
        SourceError: No weights in safetensors, or not where the index says.
    """
    if (directory / _WEIGHTS).is_file():
        return Checkpoint.open(directory / _WEIGHTS)
    if (directory / _INDEX).is_file():
        return Checkpoint(_shards(directory))
    if pickles := _names(directory, *PICKLE_SUFFIXES):
        raise SourceError(
            f"{directory} has weights only as pickles ({pickles[0]}), which may run code when they "
            "are read; save it again with save_pretrained(directory, safe_serialization=True)"
        )
    others = _names(directory, ".safetensors", ".gguf")
    instead = f", but {others[0]}, which is not read" if others else ""
    raise SourceError(f"{directory} has neither {_WEIGHTS} nor {_INDEX}{instead}")


def _without_config(directory: Path) -> str:
    """Returns what the directory seems to hold instead of a model."""
    if (directory / "adapter_config.json").exists():
        return f"{directory} holds an adapter (LoRA); merge it into its model and save that"
    if (directory / "model_index.json").exists():
        parts = sorted(path.parent.name for path in directory.glob(f"*/{_CONFIG}"))
        named = f": {', '.join(parts)}" if parts else ""
        return f"{directory} holds a pipeline of models; give the directory of one{named}"
    others = _names(directory, ".safetensors", ".gguf", *PICKLE_SUFFIXES)
    return f"{directory} has no {_CONFIG}" + (f", but {others[0]} alone" if others else "")


def _names(directory: Path, *suffixes: str) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in suffixes)


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
