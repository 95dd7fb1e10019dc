"""Which layers of a model a command line names."""

from __future__ import annotations

import argparse
import re

from attention_export.errors import SourceError

__all__ = ["LayerSelection"]


class LayerSelection:
    """Layers by number from 0 on: "all", or numbers and ranges such as "0,2-4"."""

    def __init__(self, text: str) -> None:
        self._ranges: list[range] | None = None if text == "all" else _ranges(text)

    def of(self, count: int) -> list[int]:
        """Returns the layers selected, each once and in order.

        Args:
            count: How many there are.

        Raises:
            SourceError: A layer that there is not.
        """
        if self._ranges is None:
            return list(range(count))
        selected = sorted({layer for part in self._ranges for layer in part})
        if selected[-1] >= count:
            raise SourceError(
                f"there is no layer {selected[-1]}; the model has layers 0 to {count - 1}"
            )
        return selected


def _ranges(text: str) -> list[range]:
    ranges = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no selection of layers; all, 3, 0,2,5 and 0-3 are"
            )
        ranges.append(range(first, last + 1))
    return ranges
