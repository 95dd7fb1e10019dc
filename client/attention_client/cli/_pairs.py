"""Pairs of positions in .csv files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from attention_client.cli._files import FileError

_AXES = ("sequence", "query", "key")


def load_pairs(path: Path) -> list[tuple[int, ...]]:
    """Returns the pairs in a file of columns query,key or sequence,query,key.

    A first line may name the columns; then there may be others, which are left out.

    Raises:
        FileError: No such file, or a line that is no pair.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin with a mark
            return list(_pairs(path, file))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: no .csv file") from error


def _pairs(path: Path, file: TextIO) -> Iterator[tuple[int, ...]]:
    columns: list[int] | None = None  # where they are named
    reader, is_first = csv.reader(file), True
    for cells in reader:
        if not any(cells):
            continue
        names = [cell.strip().lower() for cell in cells]
        if is_first and {"query", "key"} <= {*names}:
            columns = [names.index(axis) for axis in _AXES if axis in names]
        else:
            try:
                yield _pair(cells if columns is None else [cells[column] for column in columns])
            except (ValueError, IndexError):
                raise FileError(
                    f"{path}, line {reader.line_num}: must be whole numbers query,key or "
                    f"sequence,query,key, not {','.join(cells)!r}"
                ) from None
        is_first = False


def _pair(cells: Sequence[str]) -> tuple[int, ...]:
    if len(cells) not in (len(_AXES) - 1, len(_AXES)):
        raise ValueError
    return tuple(map(int, cells))
