"""What the page asks, read from the JSON that it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from attention_client._names import CAUSAL_MODES, CausalMode
from attention_client.explore.errors import ExploreError

__all__ = ["ArrayInput", "Ask", "SecondText", "TextInput", "UploadedArray"]

SecondText = Literal["none", "batch", "keys"]
Window = tuple[int | None, int | None]

_T = TypeVar("_T")
_LONGEST_TEXT = 100_000  # characters


@dataclass(frozen=True)
class TextInput:
    """A text, and maybe a second one."""

    text: str
    second: str
    role: SecondText
    """Whether the second is no part of it, another sequence of the batch, or brings the keys."""


@dataclass(frozen=True)
class UploadedArray:
    """An array of an uploaded file."""

    upload: str
    """Id of the file."""
    name: str
    """Name in an .npz file; empty for an .npy file."""


@dataclass(frozen=True)
class ArrayInput:
    """Embeddings that were uploaded."""

    query: UploadedArray
    key: UploadedArray | None
    value: UploadedArray | None
    kv_lengths: tuple[int, ...] | None


@dataclass(frozen=True)
class Ask:
    """One call, and which part of its answer to look at."""

    model: str
    version: str
    input: TextInput | ArrayInput
    sequence: int
    """Sequence of the batch to show."""
    query: int
    """Index of the token whose steps are shown."""
    heads: tuple[int, ...] | None
    """Heads to show; as many as can be drawn where absent."""
    num_heads: int | None
    causal: CausalMode | None
    window: Window | None
    padding: bool
    """Whether padding is masked."""

    @classmethod
    def read(cls, content: object) -> Ask:
        """Returns what the page sent.

        Raises:
            ExploreError: Something is missing, or not what it should be.
        """
        fields = _Fields(content)
        causal = fields.get("causal", str, None)
        if causal is not None and causal not in CAUSAL_MODES:
            raise ExploreError(f"causal must be one of {', '.join(CAUSAL_MODES)}")
        return cls(
            model=fields.need("model", str),
            version=fields.get("version", str, ""),
            input=_input(_Fields(fields.need("input", dict))),
            sequence=fields.index("sequence"),
            query=fields.index("query"),
            heads=fields.numbers("heads"),
            num_heads=fields.get("num_heads", int, None),
            causal=cast("CausalMode | None", causal),
            window=_window(fields.get("window", list, None)),
            padding=fields.get("padding", bool, True),
        )


class _Fields:
    """A JSON object whose values are of the types that they should be."""

    def __init__(self, content: object) -> None:
        if not isinstance(content, Mapping):
            raise ExploreError("the request must be a JSON object")
        self._content = content

    def get(self, name: str, kind: type[_T], otherwise: Any) -> Any:
        value = self._content.get(name)
        if value is None:
            return otherwise
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ExploreError(f"{name} must be of the kind {kind.__name__}")
        return value

    def need(self, name: str, kind: type[_T]) -> _T:
        value = self.get(name, kind, None)
        if value is None:
            raise ExploreError(f"{name} is missing")
        return cast("_T", value)

    def index(self, name: str) -> int:
        value: int = self.get(name, int, 0)
        if value < 0:
            raise ExploreError(f"{name} must be 0 or more, not {value}")
        return value

    def numbers(self, name: str) -> tuple[int, ...] | None:
        values = self.get(name, list, None)
        if values is None:
            return None
        if not values or not all(_whole(value) for value in values):
            raise ExploreError(f"{name} must be whole numbers of 0 or more, 0, 3 say")
        return tuple(values)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _window(sides: list[Any] | None) -> Window | None:
    if sides is None:
        return None
    if len(sides) != 2 or not all(side is None or _whole(side) for side in sides):
        raise ExploreError("window must be two whole numbers, or nothing for no limit")
    return sides[0], sides[1]


def _input(fields: _Fields) -> TextInput | ArrayInput:
    if fields.get("query", dict, None) is None:
        role = fields.get("role", str, "none")
        if role not in get_args(SecondText):
            raise ExploreError(f"role must be one of {', '.join(get_args(SecondText))}")
        text, second = fields.get("text", str, ""), fields.get("second", str, "")
        if len(text) + len(second) > _LONGEST_TEXT:
            raise ExploreError(f"the text has more than {_LONGEST_TEXT:,} characters")
        if any("\ud800" <= character <= "\udfff" for character in text + second):
            raise ExploreError("the text has half a character: a surrogate without the other")
        return TextInput(text, second, role)
    return ArrayInput(
        query=_uploaded(fields.need("query", dict)),
        key=_optional(fields.get("key", dict, None)),
        value=_optional(fields.get("value", dict, None)),
        kv_lengths=fields.numbers("kv_lengths"),
    )


def _optional(content: object) -> UploadedArray | None:
    return None if content is None else _uploaded(content)


def _uploaded(content: object) -> UploadedArray:
    fields = _Fields(content)
    return UploadedArray(fields.need("upload", str), fields.get("name", str, ""))
