"""The ``attention`` command."""

from attention_client.cli._main import main

__all__ = ["main"]
