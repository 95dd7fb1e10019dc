"""What a model can be wrong in, beside not being taken by ONNX Runtime at all."""

from __future__ import annotations

__all__ = ["ModelUnusable", "check_shape"]


class ModelUnusable(Exception):
    """A model that ONNX Runtime does not take or that does not do what its manifest says."""


def check_shape(name: str, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuses a tensor of other dimensions than the manifest says.

    Raises:
        ModelUnusable: Its message names both.
    """
    if given != expected:
        raise ModelUnusable(
            f"its manifest says {name} {list(expected)}, but it gives {list(given)}"
        )
