"""The command's flags, one a setting."""

from __future__ import annotations

from argparse import (
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    BooleanOptionalAction,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Sequence
from importlib import metadata
from itertools import pairwise
from typing import Any, get_args

from attention_server.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, nearest, shown

__all__ = ["parse"]

_COMMANDS = """\
Serves attention layers over gRPC until SIGTERM, which drains; a second one stops at once.

commands, before the settings:
  check-config  say in TOML what settings would be in effect, and start nothing
  check-health  say by the exit status whether the server at that address serves
"""
_SOURCES = f"""\
Each setting is also an environment variable, {ENVIRONMENT_PREFIX}LISTEN say, and, but for config,
a key of the file, listen = "127.0.0.1:50051" say. Flags win over the environment, and that over
the file. Exit status: 0 done, 1 could not start or does not serve, 2 wrong settings,
128 and a signal's number where it stopped at once; of check-health 0 and 1 alone.
"""
_METAVARS = {"listen": "ADDRESS:PORT", "models": "DIR", "providers": "NAMES"}


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns what was given, by the name of the setting; ``config`` is among the names.

    Raises:
        SettingsError: Flags that there are not, twice, or without their values.
        SystemExit: ``--help`` or ``--version``.
    """
    parser = _parser()
    try:
        given, others = parser.parse_known_args(arguments)
    except ArgumentError as error:
        raise SettingsError(_misused(error.argument_name or "", parser)) from None
    if others:
        raise SettingsError(_unknown(others[0], arguments, parser))
    return vars(given)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="attention-server",
        usage="attention-server [check-config | check-health] [settings]",
        description=_COMMANDS,
        epilog=_SOURCES,
        formatter_class=RawDescriptionHelpFormatter,
        argument_default=SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--version", action=_Version)
    settings = parser.add_argument_group("settings")
    settings.add_argument(
        "--config",
        action=_Value,
        metavar="FILE",
        help="TOML file with any of the settings below; flags and environment win over it",
    )
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else field.default
        told = f"{field.description} (default: {default})".replace("%", "%%")
        if field.annotation is bool:
            settings.add_argument(_flag(name), action=_Switch, help=told)
        else:
            metavar = _metavar(name, field.annotation)
            settings.add_argument(_flag(name), action=_Value, metavar=metavar, help=told)
    return parser


def _metavar(name: str, annotation: Any) -> str:
    """Returns what a value is called: by what it is, not by its type."""
    if name in _METAVARS:
        return _METAVARS[name]
    if name.endswith("_seconds"):
        return "SECONDS"
    return f"{{{','.join(get_args(annotation))}}}" if get_args(annotation) else "N"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _misused(name: str, parser: ArgumentParser) -> str:
    """Returns what is wrong with a flag that has a value and takes none, or the other way round."""
    for flags in _switches(parser):
        if "/".join(flags) == name:
            return _without_value(flags)
    return f"{name}: must be given with a value; --help shows all"


def _switches(parser: ArgumentParser) -> list[Sequence[str]]:
    return [action.option_strings for action in parser._actions if action.nargs == 0]


def _without_value(flags: Sequence[str]) -> str:
    return f"{flags[0]} takes no value: {' or '.join(flags)}"


def _unknown(argument: str, arguments: Sequence[str], parser: ArgumentParser) -> str:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        for flags in _switches(parser):
            if any((each, argument) in pairwise(arguments) for each in flags):
                return _without_value(flags)
        return (
            f"{shown(argument)} is no setting: a command stands first, and settings are flags, "
            "--listen 127.0.0.1:50051 say"
        )
    long = [name for action in parser._actions for name in action.option_strings if name[1] == "-"]
    return f"there is no flag {shown(flag)}; {nearest(flag, long, prefix='--')}"


class _Version(Action):
    """Prints the version, which is looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        super().__init__(
            option_strings,
            dest=SUPPRESS,
            default=SUPPRESS,
            nargs=0,
            help="show the version and exit",
        )

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        print(f"{parser.prog} {metadata.version('attention-service')}")
        parser.exit()


class _Value(Action):
    """Takes a value, once: of two it would not be known which one was meant."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        _refuse_second(self, namespace)
        setattr(namespace, self.dest, values)


class _Switch(BooleanOptionalAction):
    """Is on or, with ``no-``, off; given once."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        _refuse_second(self, namespace)
        super().__call__(parser, namespace, values, option_string)


def _refuse_second(action: Action, namespace: Namespace) -> None:
    if hasattr(namespace, action.dest):
        raise SettingsError(f"{'/'.join(action.option_strings)}: must be given once, not twice")
