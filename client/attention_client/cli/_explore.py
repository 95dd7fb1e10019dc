"""The page to explore attention, from the command line."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_client._blocking import AttentionClient
from attention_client._extras import extra
from attention_client.cli._files import FileError

_EXPLORE = """\
Serves a page on this machine alone, to look at the attention of a server's models.

DIRECTORY brings tokens and embeddings: vocabulary.txt and embedding.npy as in examples/demo, or
tokenizer.json and model.safetensors of any Hugging Face model. Without it arrays can be uploaded.
"""


def add_explore(commands: Any, connection: argparse.ArgumentParser) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "explore",
        parents=[connection],
        help="open a page to look at attention in",
        description=_EXPLORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("page")
    group.add_argument(
        "--text", metavar="DIRECTORY", type=Path, help="tokenizer and embeddings for texts"
    )
    group.add_argument(
        "--port", metavar="N", type=int, default=0, help="of 127.0.0.1 (default: a free one)"
    )
    group.add_argument("--no-browser", action="store_true", help="say the address, open nothing")


def explore(client: AttentionClient, args: Namespace) -> Iterator[str]:
    """Serves the page until Ctrl-C; its lines are printed as they come, so that none is yielded."""
    with extra("explore", "pages to explore"):
        from attention_client.explore import serving
        from attention_client.explore.errors import ExploreError
    try:
        serving.explore(
            args.server,
            text=args.text,
            port=args.port,
            browser=not args.no_browser,
            timeout=args.timeout,
            say=lambda line: print(line, flush=True),
        )
    except ExploreError as error:
        raise FileError(str(error)) from error
    yield from ()
