"""The table at the end: what was exported, how large it is and how exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from attention_export.layer_export import ExportReport
from attention_service.manifest import Manifest

__all__ = ["print_files", "print_summary"]

_COLUMNS = ("model", "dims", "heads", "size", "max error", "seconds")
_TEXTS = {"model", "dims", "heads", "file"}


def print_summary(reports: Sequence[ExportReport]) -> None:
    """Prints a line a model to standard output."""
    _print(_COLUMNS, [_row(report) for report in reports])


def print_files(sizes: Mapping[str, int]) -> None:
    """Prints a line a file to standard output."""
    _print(("file", "size"), [(name, _size(count)) for name, count in sizes.items()])


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draws a table on a terminal and aligns columns elsewhere."""
    console = Console()
    if not console.is_terminal:
        print("\n".join(_aligned(columns, rows)))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in _TEXTS else "right",
            no_wrap=column != columns[0],  # on a narrow terminal names break, figures do not
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (
            cell.ljust(width) if column in _TEXTS else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _row(report: ExportReport) -> tuple[str, ...]:
    manifest = report.manifest
    return (
        manifest.name,
        _dims(manifest),
        _heads(manifest),
        _size(report.bytes),
        f"{max(manifest.parity.values()):.1e}",
        f"{report.seconds:.1f}",
    )


def _dims(manifest: Manifest) -> str:
    dims = (manifest.query_dim, manifest.key_dim, manifest.value_dim, manifest.output_dim)
    if len(set(dims)) == 1:
        return str(manifest.query_dim)
    return "{}, {}, {} -> {}".format(*dims)


def _heads(manifest: Manifest) -> str:
    defaults = manifest.defaults
    heads = str(defaults.num_heads)
    if defaults.num_kv_heads != defaults.num_heads:
        heads += f" on {defaults.num_kv_heads}"
    return f"{heads} of {manifest.head_dim}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
