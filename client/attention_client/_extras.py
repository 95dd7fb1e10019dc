"""Extras of the distribution: what they bring, and the line to type where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MissingExtraError", "extra"]


class MissingExtraError(ImportError):
    """A package that comes with an extra is not installed."""


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Imports inside may fail for want of an extra; the error then says what to install.

    Raises:
        MissingExtraError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("attention_client", "attention_service"):
            raise  # ours: no extra brings it
        raise MissingExtraError(
            f"{purpose} need {package}: pip install 'attention-service[{name}]'", name=package
        ) from error
