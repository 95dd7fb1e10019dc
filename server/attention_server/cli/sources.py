"""Settings from flags, environment and file, in this order of precedence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from attention_server.cli.arguments import parse
from attention_server.settings import (
    ENVIRONMENT_PREFIX,
    Settings,
    SettingsError,
    checked,
    named,
    nearest,
)

__all__ = ["Given", "read"]

_MAX_FILE_BYTES = 1 << 16
_CONFIG = f"{ENVIRONMENT_PREFIX}CONFIG"
# What Kubernetes sets in every pod beside a service called attention-server, or attention-server-x.
_OF_A_SERVICE = re.compile(
    ENVIRONMENT_PREFIX + r"(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT=(tcp|udp|sctp)://"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)"
)


@dataclass(frozen=True)
class Given:
    """Settings, and where they come from."""

    settings: Settings
    origins: Mapping[str, str]
    """"flag", "environment" or "file" for each setting that is not left at its default."""


def read(arguments: Sequence[str]) -> Given:
    """Returns the settings from flags, environment and file; the first of them wins.

    Args:
        arguments: Command line without the program's name and the command.

    Raises:
        SettingsError: Unknown or impossible settings.
        SystemExit: ``--help`` or ``--version``.
    """
    flags = parse(arguments)
    _check_variables()
    file = flags.pop("config", os.environ.get(_CONFIG))
    sources: dict[str, dict[str, Any]] = {
        "file": {} if file is None else _read_file(Path(file)),
        "environment": EnvSettingsSource(Settings)(),
        "flag": flags,
    }
    values = {name: value for given in sources.values() for name, value in given.items()}
    return Given(
        settings=checked(values),
        origins={name: origin for origin, given in sources.items() for name in given},
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise SettingsError("config: must be a TOML file that is there")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SettingsError(f"config: must be a TOML file of at most {_MAX_FILE_BYTES} bytes")
        given = TomlConfigSettingsSource(Settings, path)()
    except SettingsError:
        raise
    except OSError:
        raise SettingsError("config: must be a TOML file that this user may read") from None
    except UnicodeDecodeError:
        raise SettingsError("config: must be a TOML file in UTF-8") from None
    except (ValueError, RecursionError) as error:  # of the TOML parser
        place = re.search(r"\(at (line \d+, column \d+|end of document)\)$", str(error))
        where = f", which it is not at {place[1]}" if place else ""
        raise SettingsError(
            f"config: must be a TOML file{where}; a line is max_batch = 256 say"
        ) from None
    if "config" in given:
        raise SettingsError("config: must be a flag or an environment variable, not in the file")
    return given


def _check_variables() -> None:
    """Refuses variables that look like settings and are none: a limit may have been meant.

    Raises:
        SettingsError: Names the first of them.
    """
    settings = {f"{ENVIRONMENT_PREFIX}{setting.upper()}" for setting in Settings.model_fields}
    for name, value in sorted(os.environ.items()):
        upper = name.upper()  # pydantic takes settings in any case
        if not upper.startswith(ENVIRONMENT_PREFIX) or upper in settings or name == _CONFIG:
            continue
        if not _OF_A_SERVICE.match(f"{name}={value}"):
            guess = nearest(upper, {*settings, _CONFIG}, prefix=ENVIRONMENT_PREFIX)
            raise SettingsError(f"{named(name)} is no setting; {guess}")
