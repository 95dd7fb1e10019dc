"""What the page says where it cannot do what it was asked."""

from __future__ import annotations

__all__ = ["ExploreError"]


class ExploreError(Exception):
    """One line that says what was wrong and what would be right."""
