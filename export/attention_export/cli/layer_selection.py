"""Which layers of a model a command line names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from itertools import product

from attention_export.errors import SourceError

__all__ = ["LayerSelection"]

_ALL = "all"
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_WORD = re.compile(r"[a-z_]+")


class LayerSelection:
    """Layers by name: "0,2-4", "encoder", "decoder.0-3.self", "decoder.all.cross"; "all" for all.

    A range stands for each of its numbers, "all" for whatever stands in its place, and a name cut
    short at a dot for all that begin with it.
    """

    def __init__(self, text: str) -> None:
        self._items = [_choices(item.strip()) for item in text.split(",")]
        if not all(choices for item in self._items for choices in item):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no selection of layers; all, 3, 0,2,5, 0-3, encoder, "
                "decoder.0-3.self and decoder.all.cross are"
            )

    def of(self, names: Sequence[str]) -> list[str]:
        """Returns the layers selected, each once and in the model's order.

        Args:
            names: Those that there are.

        Raises:
            SourceError: A layer that there is not; each number of a range must be there.
        """
        layers = {name: name.split(".") for name in names}
        selected: set[str] = set()
        for item in self._items:
            for wanted in product(*item):
                found = {name for name, layer in layers.items() if _begins(layer, wanted)}
                if not found:
                    there = ", ".join(_ranges(names))
                    raise SourceError(
                        f"there is no layer {'.'.join(wanted)}; the model has layers {there}"
                    )
                selected |= found
        return [name for name in names if name in selected]


def _choices(item: str) -> list[list[str]]:
    """Returns what each component may be, nothing where it is not spelt as one."""
    choices: list[list[str]] = []
    for component in item.split("."):
        if found := _RANGE.fullmatch(component):
            first, last = int(found[1]), int(found[2] or found[1])
            choices.append([str(number) for number in range(first, last + 1)])
        else:
            choices.append([component] if _WORD.fullmatch(component) else [])
    return choices


def _begins(layer: Sequence[str], wanted: Sequence[str]) -> bool:
    return len(wanted) <= len(layer) and all(
        choice in (_ALL, component) for choice, component in zip(wanted, layer, strict=False)
    )


def _ranges(names: Sequence[str]) -> Iterator[str]:
    """Yields the names as one would select them: encoder.0-5, decoder.0-5.self."""
    stacks: dict[tuple[str, str], list[int]] = {}
    for name in names:
        before, number, after = re.split("([0-9]+)", name, maxsplit=1)
        stacks.setdefault((before, after), []).append(int(number))
    for (before, after), numbers in stacks.items():
        first, last = numbers[0], numbers[-1]
        yield f"{before}{first}{f'-{last}' if last > first else ''}{after}"
