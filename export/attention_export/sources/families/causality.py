"""Which keys a decoder's layers see, as config.json has it."""

from __future__ import annotations

from attention_export.sources.config import Config
from attention_service.manifest import Causal

__all__ = ["causality", "seen"]


def causality(config: Config) -> Causal:
    """Returns the causality of a decoder: none where its config says ``"is_causal": false``."""
    return "lower_right" if config.flag("is_causal", True) else "none"


def seen(width: int | None, causal: Causal) -> tuple[int | None, int | None]:
    """Returns the window of a layer whose ``sliding_window`` is so wide; None for no limit.

    A causal layer counts a token's own place, and sees so many keys in all; one that is not sees so
    many to both sides of it.
    """
    if width is None:
        return (None, None)
    return (width, width) if causal == "none" else (width - 1, None)
