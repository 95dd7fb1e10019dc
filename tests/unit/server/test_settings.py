"""Each setting is a flag, an environment variable and a key of the file; wrong ones are named."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import ValidationError

from attention_server.cli.sources import read
from attention_server.settings import Settings, SettingsError
from attention_service.limits import Limits

NAMES = sorted(Settings.model_fields)


def read_settings(arguments: Sequence[str]) -> Settings:
    return read(arguments).settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ATTENTION_SERVER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.toml"


def refusal(arguments: Sequence[str]) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(arguments)
    return str(caught.value)


def test_nothing_given_is_the_defaults() -> None:
    assert read_settings([]).model_dump() == Settings().model_dump()


@pytest.mark.parametrize(
    ("in_flag", "in_environment", "in_file", "wins"),
    [
        ("1", "2", "3", 1),
        ("1", None, "3", 1),
        (None, "2", "3", 2),
        (None, None, "3", 3),
        (None, "2", None, 2),
        (None, None, None, 256),
    ],
)
def test_flag_wins_over_environment_and_that_over_file(
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    in_flag: str | None,
    in_environment: str | None,
    in_file: str | None,
    wins: int,
) -> None:
    file.write_text("" if in_file is None else f"max_batch = {in_file}")
    if in_environment is not None:
        monkeypatch.setenv("ATTENTION_SERVER_MAX_BATCH", in_environment)
    flags = [] if in_flag is None else ["--max-batch", in_flag]

    assert read_settings([*flags, "--config", str(file)]).max_batch == wins


def test_sources_add_up(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("max_batch = 2\nmax_length = 3")
    monkeypatch.setenv("ATTENTION_SERVER_MAX_WORK", "4")

    settings = read_settings(["--drain-seconds=0.5", f"--config={file}"])

    assert (settings.max_batch, settings.max_length) == (2, 3)
    assert (settings.max_work, settings.drain_seconds) == (4, 0.5)


def test_environment_may_name_the_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text('listen = "[::1]:7"')
    monkeypatch.setenv("ATTENTION_SERVER_CONFIG", str(file))

    assert read_settings([]).listen == "[::1]:7"


def test_file_that_a_flag_names_wins_over_the_environments(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    file.write_text("max_batch = 1")
    (tmp_path / "other.toml").write_text("max_batch = 2")
    monkeypatch.setenv("ATTENTION_SERVER_CONFIG", str(tmp_path / "other.toml"))

    assert read_settings(["--config", str(file)]).max_batch == 1


@pytest.mark.parametrize(
    ("arguments", "on"),
    [(["--reflection"], True), (["--no-reflection"], False), ([], False)],
    ids=str,
)
def test_switch_is_on_or_off(arguments: list[str], on: bool) -> None:
    assert read_settings(arguments).reflection is on


def test_switch_is_turned_off_against_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_SERVER_REFLECTION", "true")

    assert read_settings([]).reflection
    assert not read_settings(["--no-reflection"]).reflection


@pytest.mark.parametrize("given", ["cuda,cpu", " CUDA , cpu,"])
def test_providers_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("ATTENTION_SERVER_PROVIDERS", given)

    assert read_settings([]).providers == "cuda,cpu"
    assert read_settings(["--providers", given]).providers == "cuda,cpu"


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1:0", "localhost:50051", "0.0.0.0:65535", "[::1]:50051", "[::]:1", "a.example:80"],
)
def test_address_and_port_are_taken(listen: str) -> None:
    assert read_settings(["--listen", listen]).listen == listen


WRONG = {
    "listen": ["nowhere", "", ":1", "host:", "host:x", "host:65536", "host:-1", "::1:50051"],
    "models": ["/no/such/directory"],
    "providers": ["tpu", "cpu,cpu", "", ","],
    "require_provider": ["perhaps"],
    "engine_threads": ["0", "257", "two"],
    "intra_op_threads": ["-1"],
    "batching": ["sometimes"],
    "max_message_bytes": ["65535", str(2**31), "64MB"],
    "max_stream_bytes": ["1"],
    "max_batch": ["0", "-1", "1.5", str(2**32), "1e3"],
    "max_length": ["0", str(2**31)],
    "max_work": ["0", str(2**63)],
    "max_waiting_requests": ["0"],
    "max_waiting_bytes": ["0"],
    "drain_seconds": ["-1", "nan", "inf", "soon", "3601"],
    "reflection": ["maybe"],
    "demo": ["2"],
    "log_level": ["loud", ""],
}
SWITCHES = {"require_provider", "batching", "reflection", "demo"}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_value_in_the_environment_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ATTENTION_SERVER_{name.upper()}", value)

    assert re.fullmatch(rf"{name}: \S.*", refusal([]))


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG.items() if name not in SWITCHES for value in values],
)
def test_wrong_value_in_a_flag_is_one_line_that_names_the_setting(name: str, value: str) -> None:
    flag = "--" + name.replace("_", "-")

    assert re.fullmatch(rf"{name}: \S.*", refusal([f"{flag}={value}"]))


def test_wrong_values_of_several_settings_are_named_together(file: Path) -> None:
    file.write_text("max_batch = 0\nmax_length = 0")

    assert re.fullmatch(r"max_batch: .*; max_length: .*", refusal(["--config", str(file)]))


def test_only_the_first_of_many_wrong_values_are_named(file: Path) -> None:
    file.write_text("\n".join(f"unknown_{i} = 0" for i in range(1000)))

    said = refusal(["--config", str(file)])

    assert said.startswith("unknown_0: there is no such setting; ")
    assert said.endswith("; and 996 more")
    assert len(said) < 512


@pytest.mark.parametrize(
    "content",
    [b"max_batch = ", b"max_batch", b"= 1", b"\xff\xfe", b"max_batch = 1\nmax_batch = 2", b"\0"],
)
def test_file_that_is_no_toml_is_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert re.fullmatch(r"config: \S.*", refusal(["--config", str(file)]))


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_file_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    said = refusal(["--config", str(tmp_path / name)])

    assert said == "config: must be a TOML file that is there"


def test_variables_that_kubernetes_makes_of_a_service_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = "ATTENTION_SERVER_PORT_50051_TCP"
    for name, value in {
        "ATTENTION_SERVER_SERVICE_HOST": "10.0.0.1",
        "ATTENTION_SERVER_SERVICE_PORT": "50051",
        "ATTENTION_SERVER_SERVICE_PORT_GRPC": "50051",
        "ATTENTION_SERVER_PORT": "tcp://10.0.0.1:50051",
        port: "tcp://10.0.0.1:50051",
        f"{port}_PROTO": "tcp",
        f"{port}_PORT": "50051",
        f"{port}_ADDR": "10.0.0.1",
        "ATTENTION_SERVER_CANARY_SERVICE_HOST": "10.0.0.2",
        "ATTENTION_SERVER_CANARY_PORT": "udp://10.0.0.2:50051",
    }.items():
        monkeypatch.setenv(name, value)

    assert read_settings([]) == Settings()


def test_variables_of_others_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_SERVERS", "1")
    monkeypatch.setenv("ATTENTION_SERVER", "localhost:50051")  # the client's

    assert read_settings([]) == Settings()


def test_variable_is_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("attention_server_Max_Batch", "1")

    assert read_settings([]).max_batch == 1


@pytest.fixture
def help_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_help_describes_each_setting(help_text: str, name: str) -> None:
    flag = "--" + name.replace("_", "-")
    description = Settings.model_fields[name].description

    assert description
    described = rf"^  {flag}\b.*\s+{re.escape(description)}"
    assert re.search(described, help_text, re.MULTILINE)


def test_version_is_that_of_the_distribution(
    help_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr() == (
        f"attention-server {metadata.version('attention-service')}\n",
        "",
    )
    assert re.search(r"^  --version +show the version and exit$", help_text, re.MULTILINE)


def test_help_tells_of_commands_environment_and_file(help_text: str) -> None:
    assert "check-config" in help_text
    assert "check-health" in help_text
    assert "ATTENTION_SERVER_LISTEN" in help_text
    assert 'listen = "127.0.0.1:50051"' in help_text


def test_limits_are_the_settings_of_these_names() -> None:
    settings = Settings(
        max_message_bytes=1 << 20, max_batch=2, max_length=3, max_work=4, max_stream_bytes=1 << 21
    )

    assert settings.limits == Limits(
        message_bytes=1 << 20, batch=2, length=3, work=4, stream_bytes=1 << 21
    )


@pytest.mark.parametrize("given", ["info", "INFO", "Info"])
def test_log_level_is_taken_in_any_case(given: str) -> None:
    assert read_settings(["--log-level", given]).log_level == "info"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().max_batch = 3
