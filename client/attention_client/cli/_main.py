"""Runs the command: arguments and environment in, an exit code out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from attention_client._blocking import AttentionClient
from attention_client._extras import MissingExtraError
from attention_client.cli._commands import COMMANDS
from attention_client.cli._files import FileError
from attention_client.cli._parser import build_parser
from attention_client.cli._show import ShowError
from attention_client.errors import AttentionError

_DEFAULT_SERVER = "localhost:50051"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 after an error, 130 after Ctrl-C.

    Args:
        argv: Arguments; the process's own where absent.

    Raises:
        SystemExit: --help and --version (0), or arguments that cannot be meant (2).
    """
    server = os.environ.get("ATTENTION_SERVER") or _DEFAULT_SERVER
    parser = build_parser(default_server=server)
    args = parser.parse_args(argv)
    try:
        client = AttentionClient(args.server, timeout=args.timeout)
    except ValueError as error:
        parser.error(str(error))
    try:
        with client:
            for line in COMMANDS[args.command](client, args):
                print(line)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, head say, has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (AttentionError, FileError, MissingExtraError, ShowError) as error:
        print(f"attention: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
