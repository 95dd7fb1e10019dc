"""config.json of a model, read field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_export.errors import SourceError

__all__ = ["Config"]


class Config:
    """The fields of a config.json, each checked when it is asked for.

    Every method raises ``SourceError`` for a field that is missing, without a default, or wrong.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a string."""
        value = self._fields.get(name, default)
        if not isinstance(value, str):
            raise SourceError(f"config.json: {name} must be a string")
        return value

    def size(self, name: str) -> int:
        """Returns a whole number, at least 1."""
        value = self._fields.get(name)
        if type(value) is not int or value < 1:
            raise SourceError(f"config.json: {name} must be a whole number, at least 1")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Returns a truth value."""
        value = self._fields.get(name, default)
        if type(value) is not bool:
            raise SourceError(f"config.json: {name} must be true or false")
        return value
