"""``attention attend ... --show``: the weights as bars and small heat maps."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attention_client._extras import extra
from attention_client._results import AttendResult
from attention_client.cli._files import FileError

_OPTIONS = {"batch": "--sequence", "tokens": "--tokens", "key_tokens": "--key-tokens"}


class ShowError(Exception):
    """What cannot be shown."""


def add_show(parser: Any, whole_numbers: Callable[[str], list[int]]) -> None:
    """Adds the options."""
    group = parser.add_argument_group(
        "in the terminal, with the extra attention-service[viz]; asks for the weights"
    )
    group.add_argument(
        "--show",
        metavar="N,N",
        nargs="?",
        const=[-1],
        type=whole_numbers,
        help="bars of these queries, the last where none is named, and a small map of each head",
    )
    for option, names in (
        ("--tokens", "queries"),
        ("--key-tokens", "keys; the tokens where alike"),
    ):
        group.add_argument(
            option,
            metavar="TEXT",
            help=f"names of the {names}: a file, one a line, or words, or characters",
        )
    group.add_argument(
        "--sequence", metavar="N", type=int, default=0, help="sequence to show (default: 0)"
    )


def check_show(args: Namespace) -> None:
    """Refuses what could not be shown, before anything is asked.

    Raises:
        ShowError: An option that does not go with --show.
        MissingExtraError: The extra is not installed.
    """
    if args.show is None:
        return
    if args.top_k:
        raise ShowError("--show needs all weights of a row: leave --top-k out")
    with extra("viz", "pictures in the terminal"):
        import attention_client.viz.show  # noqa: F401


def show_lines(result: AttendResult, args: Namespace) -> Iterator[str]:
    """Yields the lines of the pictures; with colours where the terminal has them.

    Raises:
        ShowError: A query, a sequence or tokens that do not fit the weights.
    """
    from attention_client.viz.maps import maps_of
    from attention_client.viz.show import shown_lines

    tokens, key_tokens = _tokens(args.tokens), _tokens(args.key_tokens)
    try:
        maps = maps_of(result, tokens, key_tokens, batch=args.sequence)
    except ValueError as error:
        raise ShowError(_in_options(str(error))) from error
    rows = [_row(query, maps[0].rows.places) for query in args.show]
    yield ""
    yield from shown_lines(maps, rows, sys.stdout)


def _in_options(message: str) -> str:
    """Returns a message about an argument as one about the option that gave it."""
    argument, colon, rest = message.partition(":")
    return f"{_OPTIONS[argument]}{colon}{rest}" if argument in _OPTIONS else message


def _row(query: int, places: tuple[int, ...]) -> int:
    """Returns the row of a query; -1 is the last that there is."""
    if query in places:
        return places.index(query)
    if -len(places) <= query < 0:
        return len(places) + query
    raise ShowError(f"--show: no weights of query {query}; the last is {places[-1]}")


def _tokens(text: str | None) -> list[str] | None:
    """Returns the lines of a file, else the words of a text, of one word its characters."""
    if text is None:
        return None
    path = Path(text)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: no text in UTF-8 that can be read") from error
    return text.split() if " " in text.strip() else list(text)
