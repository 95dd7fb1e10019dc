"""What settings would be in effect."""

from __future__ import annotations

import json

from attention_server.cli.sources import Given

__all__ = ["check_config"]


def check_config(given: Given) -> None:
    """Prints every setting, as TOML that ``--config`` takes; says where each comes from."""
    for name, value in given.settings.model_dump(mode="json").items():
        origin = given.origins.get(name)
        line = f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"
        print(line if origin is None else f"{line}  # {origin}")


def _toml(value: object) -> str:
    # JSON's numbers, booleans and printable strings are TOML's too.
    return json.dumps(value, ensure_ascii=False)
