"""The layers that are measured, exported once and kept."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HEADS", "layer", "model_file"]

HEADS = 12


def layer(models: Path, width: int) -> str:
    """Returns the name of an untrained layer of that width with 12 heads, exporting it at need."""
    name = f"width-{width}"
    if not (models / name / "1" / "manifest.json").exists():
        from attention_export import export, fresh_layer

        fresh = fresh_layer(width, HEADS, seed=0)
        export(fresh.module, models=models, name=name, version="1", source=fresh.source)
    return name


def model_file(models: Path, width: int) -> Path:
    """Returns the same layer as one ONNX file, for the rivals."""
    return models / layer(models, width) / "1" / "model.onnx"
