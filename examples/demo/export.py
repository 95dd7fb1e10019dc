"""Exports the demo's trained layer for the server: ``python -m examples.demo.export``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from attention_export.layer_export import export
from attention_export.module import MultiHeadAttention

from .character_model import HEAD_DIM, HEADS, WIDTH

BUILT_IN = Path("server/attention_server/models/built_in")  # the models inside the server package


def main(command_line: Sequence[str] | None = None) -> None:
    """Exports, verifies and writes ``<models>/demo/1/``."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.export", description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path(__file__).parent)
    parser.add_argument("--models", type=Path, default=BUILT_IN)
    arguments = parser.parse_args(command_line)

    layer = MultiHeadAttention(WIDTH, HEADS, head_dim=HEAD_DIM)
    layer.load_state_dict(load_file(arguments.weights / "attention.safetensors"))
    record = json.loads((arguments.weights / "training.json").read_text())
    source = {"family": "character model", "trained_on": record["corpus"]}
    report = export(layer, models=arguments.models, name="demo", source=source, overwrite=True)
    print(f"{report.directory}: {report.bytes / 1e6:.1f} MB, verified; parity {report.parity}")


if __name__ == "__main__":
    main()
