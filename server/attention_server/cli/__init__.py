"""The command ``attention-server``."""

from attention_server.cli.command import main

__all__ = ["main"]
