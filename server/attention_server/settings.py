"""Every setting of the server, declared once: flag, environment variable and key in a file."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from attention_service.limits import Limits

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Settings",
    "SettingsError",
    "checked",
    "named",
    "nearest",
    "shown",
]

ENVIRONMENT_PREFIX = "ATTENTION_SERVER_"

_MOST_SHOWN = 40
_MOST_NAMED = 4
_NEAR = 0.7  # of difflib's ratio, which is 1 where two are the same


class SettingsError(ValueError):
    """Settings that make no sense; the message is one line and says what would be right."""


class Settings(BaseSettings):
    """What can be set of a server, and the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    listen: str = "127.0.0.1:50051"
    """Address and port; port 0 takes a free one. Nothing guards it: stay on networks you trust."""
    models: Path | None = None
    """Directory of models, <name>/<version>/ each, as attention-export writes them."""
    demo: bool = True
    """Serve the model "demo" that comes with the server."""

    providers: str = "cpu"
    """Execution providers in order of preference: cpu, cuda, or cuda,cpu."""
    require_provider: bool = False
    """Do not start where the first of providers cannot be had."""
    engine_threads: int = Field(default=2, ge=1, le=256)
    """Computations at the same time."""
    intra_op_threads: int = Field(default=0, ge=0, le=1024)
    """Threads inside one computation; 0 for one a core, at most 8."""
    batching: bool = True
    """Compute requests together while several wait, where that is measured to be faster."""

    max_message_bytes: int = Field(default=64 << 20, ge=1 << 16, le=(1 << 31) - 1)
    """Largest message, bytes, either way."""
    max_stream_bytes: int = Field(default=1 << 30, ge=1 << 16, le=(1 << 63) - 1)
    """Largest request or answer on a stream, and largest tensor over all heads, bytes."""
    max_batch: int = Field(default=256, ge=1, le=(1 << 32) - 1)
    """Most sequences a request."""
    max_length: int = Field(default=65_536, ge=1, le=(1 << 31) - 1)
    """Longest query and key."""
    max_work: int = Field(default=1 << 36, ge=1, le=(1 << 63) - 1)
    """Largest batch * heads * query_len * kv_len of a request."""
    max_waiting_requests: int = Field(default=1024, ge=1, le=(1 << 32) - 1)
    """Requests that may be read or wait for an engine thread."""
    max_waiting_bytes: int = Field(default=1 << 30, ge=1 << 16, le=(1 << 63) - 1)
    """Bytes of requests and answers that calls may hold, each until its call is over."""

    drain_seconds: float = Field(default=30.0, ge=0, le=3600)
    """On SIGTERM, time for requests in flight to finish."""
    reflection: bool = False
    """Answer gRPC server reflection."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""

    @field_validator("*", mode="before")
    @classmethod
    def _check_kind(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError(_wanted(info.field_name or ""))  # Python takes true for 1
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _fold_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("providers", mode="before")
    @classmethod
    def _check_providers(cls, value: object) -> str:
        given = value if isinstance(value, str) else ""
        names = [name.strip().lower() for name in given.split(",") if name.strip()]
        if not names or not {"cuda", "cpu"}.issuperset(names) or len(set(names)) != len(names):
            raise ValueError("must be cpu, cuda, or both with a comma, each once: cuda,cpu say")
        return ",".join(names)

    @field_validator("listen", mode="before")
    @classmethod
    def _check_listen(cls, value: object) -> str:
        given = value if isinstance(value, str) else ""
        host, _, port = given.rpartition(":")
        is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65_535
        if not is_port or not _is_host(host):
            raise ValueError(
                "must be ADDRESS:PORT with a port from 0 to 65535, 127.0.0.1:50051 say, "
                f"or [::1]:50051 in IPv6{_but_is(value)}"
            )
        return given

    @field_validator("models", mode="before")
    @classmethod
    def _check_models(cls, value: object) -> Path | None:
        if value is None:
            return None
        if not isinstance(value, str | Path) or not _is_readable_directory(str(value)):
            raise ValueError("must be a directory that is there and that this user may read")
        return Path(value)

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if self.max_stream_bytes < self.max_message_bytes:
            raise ValueError(
                "max_stream_bytes: must be at least max_message_bytes, "
                f"{self.max_message_bytes}, not {self.max_stream_bytes}"
            )
        return self

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
        """Settings() takes its arguments alone; the command reads the other sources."""
        return (init_settings,)


def checked(values: Mapping[str, object]) -> Settings:
    """Returns the settings of these names and values; others have their defaults.

    Raises:
        SettingsError: Unknown or impossible settings.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_line(detail) for detail in error.errors()]
    more = f"; and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    raise SettingsError("; ".join(lines[:_MOST_NAMED]) + more)


def named(name: str) -> str:
    """Returns a name that was given, plain where it could be one, else quoted and short."""
    return name if name.isidentifier() and len(name) <= _MOST_SHOWN else shown(name)


def nearest(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Returns which of the names was meant, where that can be guessed, or where all of them are.

    Args:
        name: What was given.
        names: What there is.
        prefix: What all names begin with, and what therefore makes none of them any nearer.
    """
    given = name.removeprefix(prefix)[:_MOST_SHOWN]
    there = [known.removeprefix(prefix) for known in names]
    close = difflib.get_close_matches(given, there, 1, _NEAR)
    return f"did you mean {prefix}{close[0]}?" if close else "--help shows all"


def shown(given: str) -> str:
    """Returns what was given, quoted and short."""
    text = repr(given[: _MOST_SHOWN + 1])
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}...'"


def _is_host(host: str) -> bool:
    """Returns whether it is an IPv6 address in brackets, or looks like a name or IPv4 address."""
    if not host.startswith("["):
        return bool(host) and host.isprintable() and not set(host) & set(" :/@[]")
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return host.endswith("]")


def _is_readable_directory(path: str) -> bool:
    if not path or not path.isprintable():
        return False
    try:
        for entry in Path(path).iterdir():
            entry.lstat()  # who may list but not enter it would find no model
    except OSError:
        return False
    return True


def _line(error: ErrorDetails) -> str:
    """Returns what is wrong with a setting, and what would be right."""
    if not error["loc"]:  # of several settings together, which it names itself
        return str(error["ctx"]["error"])
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{named(name)}: there is no such setting; {nearest(name, Settings.model_fields)}"
    if error["type"] == "value_error":
        return f"{name}: {error['ctx']['error']}"
    return f"{name}: {_wanted(name)}{_but_is(error['input'])}"


def _but_is(value: object) -> str:
    return f", not {shown(value)}" if isinstance(value, str) else ""


def _wanted(name: str) -> str:
    """Returns what a setting must be."""
    field = Settings.model_fields[name]
    if field.annotation is bool:
        return "must be true or false"
    if choices := get_args(field.annotation):
        return f"must be {', '.join(choices[:-1])} or {choices[-1]}"
    kind = "a whole number" if field.annotation is int else "a number"
    unit = next((f" of {unit}" for unit in ("bytes", "seconds") if name.endswith(unit)), "")
    low, high = (
        next(getattr(bound, side) for bound in field.metadata if hasattr(bound, side))
        for side in ("ge", "le")
    )
    return f"must be {kind}{unit} from {low} to {high}"
