"""The Python that asks a server what the page asked it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from attention_client._specs import ScoresSpec, WeightsSpec
from attention_client.explore.asking import ArrayInput, Ask, TextInput, UploadedArray
from attention_client.explore.question import Question
from attention_client.explore.uploads import Uploads

__all__ = ["code_for"]


def code_for(
    ask: Ask, asked: Question, *, server: str, folder: Path | None, uploads: Uploads
) -> str:
    """Returns a program that makes the call and prints the weights of the chosen token.

    Args:
        ask: What the page asked.
        asked: The call that it came to.
        server: Address of the server.
        folder: Where texts get their embeddings from.
        uploads: Names of files; the program expects them where it is started.
    """
    if isinstance(ask.input, TextInput):
        imports = ["from attention_client.explore.texts import open_texts"]
        lines = _embed(ask.input, str(folder))
    else:
        imports = []
        lines = _load(ask.input, uploads)
    specs = (ScoresSpec, WeightsSpec)
    kinds = {type(value) for value in asked.keywords.values()}
    named = ["AttentionClient", *(spec.__name__ for spec in specs if spec in kinds)]
    arguments = [_quoted(ask.model), *_arrays(asked.arrays), *_keywords(asked.keywords)]
    return "\n".join(
        [
            *([] if isinstance(ask.input, TextInput) else ["import numpy as np", ""]),
            f"from attention_client import {', '.join(named)}",
            *imports,
            "",
            *lines,
            "",
            f"with AttentionClient({_quoted(server)}) as client:",
            "    result = client.attend(",
            *(f"        {argument}," for argument in arguments),
            "    )",
            "",
            f"# Head {asked.heads[0]}, token {asked.query}: the weight of each key.",
            f"print(result.weights[{asked.sequence}, 0, {asked.query}])",
            "",
        ]
    )


def _embed(given: TextInput, folder: str) -> list[str]:
    sentences = [given.text, given.second] if given.role == "batch" else [given.text]
    lines = [
        f"texts = open_texts({_quoted(folder)})",
        f"query, _ = texts.embed({', '.join(map(_quoted, sentences))})",
    ]
    if given.role == "keys":
        lines.append(f"key, _ = texts.embed({_quoted(given.second)})")
    return lines


def _load(given: ArrayInput, uploads: Uploads) -> list[str]:
    lines = []
    for name in ("query", "key", "value"):
        wanted: UploadedArray | None = getattr(given, name)
        if wanted is not None:
            member = f"[{_quoted(wanted.name)}]" if wanted.name else ""
            batch = "" if uploads.has_batch(wanted) else "[None]"
            lines.append(f"{name} = np.load({_quoted(uploads.file_of(wanted))}){member}{batch}")
    return lines


def _arrays(arrays: Mapping[str, Any]) -> list[str]:
    """Returns query, key and value as arguments; a value without a key is named."""
    return [name if name == "query" else f"{name}={name}" for name in arrays]


def _keywords(keywords: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_written(value)}" for name, value in keywords.items()]


def _written(value: object) -> str:
    """Returns a value as Python has it; of a selection what differs from its defaults."""
    if isinstance(value, str):
        return _quoted(value)
    if not isinstance(value, ScoresSpec | WeightsSpec):
        return repr(value)
    said = {field.name: getattr(value, field.name) for field in fields(value)}
    blank = type(value)()
    given = [f"{name}={it!r}" for name, it in said.items() if it != getattr(blank, name)]
    return f"{type(value).__name__}({', '.join(given)})"


def _quoted(text: str) -> str:
    """Returns a text as Python has it; what JSON writes is that too."""
    return json.dumps(text, ensure_ascii=False)
