"""Plain tables, columns under each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

ANY = "any"
"""What stands for a number that the request says."""
UNTOLD = "-"
"""What stands for a number that a model keeps to itself."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yields the lines of a table; columns of numbers, told or not, are flush right.

    Numbers with a point have three digits behind it.
    """
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [
        all(isinstance(row[i], (int, float)) or row[i] in (ANY, UNTOLD) for row in rows)
        for i in range(len(header))
    ]
    for line in cells:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        yield "  ".join(padded).rstrip()


def _text(cell: object) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def facts(pairs: Sequence[tuple[str, object]]) -> Iterator[str]:
    """Yields one line a fact: its name and what it is."""
    width = max(len(name) for name, _ in pairs)
    for name, fact in pairs:
        yield f"{name.ljust(width)}  {fact}".rstrip()
