"""Runs the command: arguments and environment in, an exit status out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from attention_server.cli.failure import CommandFailed

if TYPE_CHECKING:
    from attention_server.cli.sources import Given

__all__ = ["main"]

_FAILED = 1
_WRONG_SETTINGS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that stands first, or serves where none does; returns the exit status.

    0: done, or drained and stopped. 1: it could not start; whatever check-health finds wrong.
    2: settings that make no sense. 128 and a signal's number: stopped by it at once.

    Args:
        arguments: Command line without the program's name; the process's own where absent.

    Raises:
        SystemExit: --help or --version (0).
    """
    # gRPC's core writes lines of its own on what we say in ours, a taken port say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    signal.signal(signal.SIGTERM, _stop_starting)
    signal.signal(signal.SIGINT, _stop_starting)
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and not given[0].startswith("-") else ""
    try:
        from attention_server.cli.sources import read
        from attention_server.settings import SettingsError
    except ModuleNotFoundError as error:
        return _say_what_is_missing(error)
    try:
        settings = read(given)
        _command(name)(settings)
    except ModuleNotFoundError as error:
        return _say_what_is_missing(error)
    except CommandFailed as error:
        return _fail(str(error), _FAILED)
    except SettingsError as error:
        # Of a health check containers know the statuses 0 and 1 alone.
        return _fail(str(error), _FAILED if name == "check-health" else _WRONG_SETTINGS)
    return 0


def _command(name: str) -> Callable[[Given], None]:
    """Returns what a command does. Each imports what it needs and no more: health is asked often.

    Raises:
        SettingsError: There is no such command.
    """
    if name == "check-config":
        from attention_server.cli.check_config import check_config

        return check_config
    if name == "check-health":
        from attention_server.cli.check_health import check_health

        return check_health
    if name:
        from attention_server.settings import SettingsError, shown

        raise SettingsError(
            f"there is no command {shown(name)}: check-config and check-health are commands, "
            "and without one it serves"
        )
    from attention_server.cli.serve import serve

    return serve


def _stop_starting(number: int, frame: object) -> NoReturn:
    """Ends a process that does not serve yet, at once and without a word."""
    # Not sys.exit: an exception that lands in the import of an extension comes out as another one.
    os._exit(128 + number)


def _say_what_is_missing(error: ModuleNotFoundError) -> int:
    if error.name is None or error.name.startswith("attention_"):
        raise error
    package = error.name.partition(".")[0]
    return _fail(
        f"{package} is missing; install it with: pip install 'attention-service[server]'", _FAILED
    )


def _fail(message: str, status: int) -> int:
    print(f"attention-server: {message}", file=sys.stderr)
    return status
