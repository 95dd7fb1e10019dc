"""config.json of a model, read field by field."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

from attention_export.errors import SourceError

__all__ = ["Config"]


class Config:
    """The fields of a config.json, each checked when it is asked for.

    A default stands for a field that is absent. Every method raises ``SourceError`` for a field
    that is wrong, or missing without a default.

    Args:
        fields: As JSON gives them.
        context_length: Tokens that sequences may have, for families whose positions depend on it;
            what the model was first trained with if None.
        place: What stands before the fields' names in messages, of a section say.
    """

    def __init__(
        self, fields: Mapping[str, Any], *, context_length: int | None = None, place: str = ""
    ) -> None:
        self._fields = fields
        self.context_length = context_length
        self._place = place

    def __bool__(self) -> bool:
        return bool(self._fields)

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a string."""
        value = self._fields.get(name, default)
        if value is None and name not in self._fields:
            raise self.wrong(name, "is missing")
        if not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Returns strings, None where the field is absent or null."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "must be a list of strings")
        return tuple(value)

    def size(
        self,
        name: str,
        default: int | None = None,
        *,
        least: int = 1,
        most: int = 2**20,
    ) -> int:
        """Returns a whole number from ``least`` to ``most``."""
        value = self._fields.get(name, default)
        if type(value) is not int or value < least:
            raise self.wrong(name, f"must be a whole number, at least {least}")
        if value > most:
            raise self.wrong(name, f"must be at most {most}")
        return value

    def optional_size(self, name: str, default: int | None = None) -> int | None:
        """Returns a size, or None where the field is null."""
        return None if self._fields.get(name, default) is None else self.size(name, default)

    def layer_count(self, name: str, default: int | None = None) -> int:
        """Returns how many layers there are, at most 10,000."""
        return self.size(name, default, most=10_000)

    def optional_layer_count(self, name: str) -> int | None:
        """Returns how many layers there are, or None where the field is absent or null."""
        return None if self._fields.get(name) is None else self.layer_count(name)

    def length(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Returns how many tokens there may be, at most 2^31 - 1."""
        return self.size(name, default, least=least, most=2**31 - 1)

    def optional_length(
        self, name: str, default: int | None = None, *, least: int = 1
    ) -> int | None:
        """Returns how many tokens there may be, or None where the field is null."""
        if self._fields.get(name, default) is None:
            return None
        return self.length(name, default, least=least)

    def shared(
        self, whole: str, parts: str, default: tuple[int | None, int | None] = (None, None)
    ) -> tuple[int, int]:
        """Returns two sizes, of which the first is a multiple of the second: width and heads say.

        Args:
            whole: Name of the first.
            parts: Name of the second.
            default: What stands for either where it is absent.
        """
        size, count = self.size(whole, default[0]), self.size(parts, default[1])
        if size % count:
            raise self.wrong(whole, f"({size}) must be a multiple of {parts} ({count})")
        return size, count

    def number(self, name: str, default: float | None = None) -> float:
        """Returns a number above 0."""
        value = self._fields.get(name, default)
        if not _is_positive(value):
            raise self.wrong(name, "must be a number above 0")
        return float(value)

    def optional_number(self, name: str, default: float | None = None) -> float | None:
        """Returns a number above 0, or None where the field is null."""
        return None if self._fields.get(name, default) is None else self.number(name, default)

    def numbers(self, name: str, count: int) -> list[float]:
        """Returns so many numbers above 0."""
        value = self._fields.get(name)
        if not isinstance(value, list) or len(value) != count or not all(map(_is_positive, value)):
            raise self.wrong(name, f"must be a list of {count} numbers above 0")
        return [float(item) for item in value]

    def flag(self, name: str, default: bool) -> bool:
        """Returns a truth value, the default where the field is null, too."""
        value = self._fields.get(name)
        if value is not None and type(value) is not bool:
            raise self.wrong(name, "must be true or false")
        return default if value is None else value

    def check_known(self, known: Collection[str]) -> None:
        """Refuses fields of other names, unless they are null.

        Raises:
            SourceError: Such a field, of which nobody here knows what it would change.
        """
        for name, value in self._fields.items():
            if name not in known and value is not None:
                raise self.wrong(name, "is not known")

    def section(self, name: str) -> Config:
        """Returns the fields of an object, none where it is absent or null."""
        value = self._fields.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        place = f"{self._place}{name}."
        return Config(value or {}, context_length=self.context_length, place=place)

    def wrong(self, name: str, what: str) -> SourceError:
        """Returns the error that says what is wrong with a field."""
        return SourceError(f"config.json: {self._place}{name} {what}")


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max
