"""Tables: drawn on a terminal, columns aligned under each other elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["print_table"]


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: Collection[str],
    wrapped: str,
) -> None:
    """Prints a line a row to standard output.

    Args:
        columns: Name of each column.
        rows: A cell a column.
        texts: Columns that begin at the left; the others hold figures, which end at the right.
        wrapped: The column whose cells break on a narrow terminal; figures never should.
    """
    console = Console()
    if not console.is_terminal:
        print("\n".join(_aligned(columns, rows, texts)))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in texts else "right",
            no_wrap=column != wrapped,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _aligned(
    columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[str]
) -> Iterator[str]:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (
            cell.ljust(width) if column in texts else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(cells).rstrip()
