"""The command attention-export."""

from __future__ import annotations

from attention_export.cli.command import main

__all__ = ["main"]
