"""The table at the end: what was exported, how large it is and how exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attention_export.cli.figures import dims, heads, size
from attention_export.cli.table import print_table
from attention_export.layer_export import ExportReport

__all__ = ["print_files", "print_summary"]

_COLUMNS = ("model", "dims", "heads", "size", "max error", "seconds")


def print_summary(reports: Sequence[ExportReport]) -> None:
    """Prints a line a model to standard output."""
    rows = [_row(report) for report in reports]
    print_table(_COLUMNS, rows, texts={"model", "dims", "heads"}, wrapped="model")


def print_files(sizes: Mapping[str, int]) -> None:
    """Prints a line a file to standard output."""
    rows = [(name, size(count)) for name, count in sizes.items()]
    print_table(("file", "size"), rows, texts={"file"}, wrapped="file")


def _row(report: ExportReport) -> tuple[str, ...]:
    manifest = report.manifest
    return (
        manifest.name,
        dims(manifest),
        heads(manifest),
        size(report.bytes),
        f"{max(manifest.parity.values()):.1e}",
        f"{report.seconds:.1f}",
    )
