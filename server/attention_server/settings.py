"""Every setting of the server, declared once: flag, environment variable and key in a file."""

from __future__ import annotations

import os
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from attention_server.domain.limits import Limits

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "SettingsError", "read_settings"]

ENVIRONMENT_PREFIX = "ATTENTION_SERVER_"

_METAVARS = {
    "--listen": "ADDRESS:PORT",
    "--models": "DIR",
    "--config": "FILE",
    "--providers": "NAMES",
    "--drain-seconds": "SECONDS",
}


class SettingsError(ValueError):
    """Settings that make no sense; the message is one line and says what would be right."""


class Settings(BaseSettings):
    """Serve attention layers over gRPC."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    listen: str = "127.0.0.1:50051"
    """Address and port; port 0 takes a free one. Nothing guards it: stay on networks you trust."""
    models: Path | None = None
    """Directory of models, <name>/<version>/ each, as attention-export writes them."""
    demo: bool = True
    """Serve the model "demo" that comes with the server."""
    config: Path | None = None
    """TOML file with any of these settings; flags and environment variables win over it."""

    providers: str = "cpu"
    """Execution providers in order of preference: cpu, cuda, or cuda,cpu."""
    require_provider: bool = False
    """Do not start where the first of providers cannot be had."""
    engine_threads: int = Field(default=2, ge=1, le=256)
    """Requests computed at the same time."""
    intra_op_threads: int = Field(default=0, ge=0, le=1024)
    """Threads inside one computation; 0 for one a core, at most 8."""

    max_message_bytes: int = Field(default=64 << 20, ge=1 << 16, le=(1 << 31) - 1)
    """Largest message, bytes, either way."""
    max_stream_bytes: int = Field(default=1 << 30, ge=1 << 16)
    """Largest request or answer on a stream, and largest tensor over all heads, bytes."""
    max_batch: int = Field(default=256, ge=1, le=(1 << 32) - 1)
    """Most sequences a request."""
    max_length: int = Field(default=65_536, ge=1, le=(1 << 31) - 1)
    """Longest query and key."""
    max_work: int = Field(default=1 << 36, ge=1, le=(1 << 63) - 1)
    """Largest batch * heads * query_len * kv_len of a request."""
    max_waiting_requests: int = Field(default=1024, ge=1)
    """Requests that may wait for an engine thread."""
    max_waiting_bytes: int = Field(default=1 << 30, ge=1 << 16)
    """Bytes of requests that may wait for an engine thread."""

    drain_seconds: float = Field(default=30.0, ge=0, le=3600)
    """On SIGTERM, time for requests in flight to finish."""
    reflection: bool = False
    """Answer gRPC server reflection."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""

    @field_validator("providers")
    @classmethod
    def _check_providers(cls, value: str) -> str:
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        if not names or not {"cuda", "cpu"}.issuperset(names) or len(set(names)) != len(names):
            raise ValueError("must be cpu, cuda, or both with a comma, each once: cuda,cpu say")
        return ",".join(names)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError("must be ADDRESS:PORT with a port of 0 to 65535, 127.0.0.1:50051 say")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError("must have an IPv6 address in brackets, [::1]:50051 say")
        return value

    @field_validator("models")
    @classmethod
    def _check_models(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("must be a directory that is there")
        return value

    @property
    def limits(self) -> Limits:
        """Bounds of one request."""
        return Limits(
            message_bytes=self.max_message_bytes,
            batch=self.max_batch,
            length=self.max_length,
            work=self.max_work,
            stream_bytes=self.max_stream_bytes,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Settings() takes its arguments alone; read_settings names the other sources."""
        return (init_settings,)


def read_settings(arguments: Sequence[str]) -> Settings:
    """Returns the settings from flags, environment and file; the first of them wins.

    Args:
        arguments: Command line without the program's name.

    Raises:
        SettingsError: Unknown or impossible settings.
        SystemExit: ``--help``, or flags that argparse refuses.
    """
    file = _config_file(arguments)

    class FromEverywhere(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            command_line = CliSettingsSource[ArgumentParser](
                settings_cls,
                root_parser=_parser(),
                cli_parse_args=list(arguments),
                formatter_class=ArgumentDefaultsHelpFormatter,
                add_argument_method=_add_argument,
            )
            return (command_line, env_settings, TomlConfigSettingsSource(settings_cls, file))

    try:
        return FromEverywhere()
    except ValidationError as error:
        raise SettingsError("; ".join(map(_one_line, error.errors()))) from None
    except ValueError as error:  # of the TOML parser
        raise SettingsError(f"config: {error}") from None


def _parser() -> ArgumentParser:
    return ArgumentParser(
        prog="attention-server",
        description="Serves attention layers over gRPC.",
        epilog=f"Each setting is also an environment variable, {ENVIRONMENT_PREFIX}LISTEN say, "
        'and a key of the file, listen = "127.0.0.1:50051" say. Flags win over the environment, '
        "and that over the file.",
    )


def _add_argument(parser: Any, flag: str, **options: Any) -> Any:
    """Adds a flag whose value is called by what it is, and not by its type."""
    if flag in _METAVARS:
        options["metavar"] = _METAVARS[flag]
    elif options.get("metavar") == "int":
        options["metavar"] = "N"
    return parser.add_argument(flag, **options)


def _config_file(arguments: Sequence[str]) -> Path | None:
    """Returns the file to read, which flags or environment name before all else is read."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG"))
    path = parser.parse_known_args(list(arguments))[0].config
    if path is None:
        return None
    if not Path(path).is_file():
        raise SettingsError("config: must be a TOML file that is there")
    return Path(path)


def _one_line(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"][:1]))
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; --help shows all"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"
