"""How a command says that it did not do what it was asked."""

from __future__ import annotations

__all__ = ["CommandFailed"]


class CommandFailed(Exception):
    """Settings make sense, and still it cannot be done; the message is one line."""
