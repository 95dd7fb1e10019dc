"""attention-server check-config: what would be in effect, and nothing is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from attention_server.cli.sources import read
from attention_server.settings import Settings
from tests.integration.programs import run_server

WITHOUT_ENGINE = """
import sys
for name in ("onnxruntime", "grpc"):
    sys.modules[name] = None
from attention_server.cli import main
sys.exit(main())
"""
VARIABLES = {"ATTENTION_SERVER_MAX_BATCH": "2", "ATTENTION_SERVER_LOG_LEVEL": "DEBUG"}


def test_every_setting_is_told_with_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("max_batch = 1\nmax_length = 3\n")

    done = run_server("check-config", "--no-demo", "--config", str(file), variables=VARIABLES)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(Settings.model_fields)
    assert {line for line in lines if "#" in line} == {
        "# models is not set",
        "demo = false  # flag",
        "max_batch = 2  # environment",
        "max_length = 3  # file",
        'log_level = "debug"  # environment',
    }


def test_what_is_told_is_a_file_that_makes_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / '模型 "a" \\ b'
    models.mkdir()
    arguments = ["--models", str(models), "--drain-seconds", "0.25", "--listen", "[::1]:7"]
    file = tmp_path / "told.toml"
    file.write_text(run_server("check-config", *arguments).stdout, encoding="utf-8")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    assert read(["--config", str(file)]).settings == read(arguments).settings


def test_nothing_is_loaded_and_no_port_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_server("check-config", "--listen", f"127.0.0.1:{port}", program=WITHOUT_ENGINE)

    assert (done.returncode, done.stderr) == (0, "")
    assert f'listen = "127.0.0.1:{port}"  # flag' in done.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments", [["--max-batch", "0"], ["--max-bach", "1"], ["--models", "/no/such"]]
)
def test_wrong_settings_are_told_as_serving_tells_them(arguments: list[str]) -> None:
    told, serving = run_server("check-config", *arguments), run_server(*arguments)

    assert (told.returncode, told.stdout, told.stderr) == (2, "", serving.stderr)
    assert serving.returncode == 2


@pytest.mark.parametrize(("command", "status"), [("", 2), ("check-config", 2), ("check-health", 1)])
def test_variable_that_is_no_setting_is_refused_by_each_command(command: str, status: int) -> None:
    done = run_server(*command.split(), variables={"ATTENTION_SERVER_MAX_WORKS": "3"})

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == (
        "attention-server: ATTENTION_SERVER_MAX_WORKS is no setting; "
        "did you mean ATTENTION_SERVER_MAX_WORK?\n"
    )
