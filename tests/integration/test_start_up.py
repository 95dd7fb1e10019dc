"""What keeps a server from starting, or from starting as asked, is one line."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest

from attention_client import AttentionClient
from tests.integration.programs import ServerProcess, run_server

PIP = "pip install 'attention-service[server"
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime may have CUDA",
)


def without(package: str) -> str:
    """Returns the command in an environment that lacks a package."""
    return f"""
import sys
sys.modules[{package!r}] = None
from attention_server.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "package", ["onnxruntime", "pydantic_settings", "ml_dtypes", "grpc_health", "onnx"]
)
def test_missing_package_is_a_line_with_the_command_that_installs_it(package: str) -> None:
    done = run_server(program=without(package))

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"attention-server: {package} is missing")
    assert PIP in line


def test_taken_port_is_a_line_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_server("--listen", address)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"attention-server: listen: {address} cannot be listened on")


def test_wrong_setting_is_a_line_that_names_it() -> None:
    done = run_server("--max-batch", "0")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("attention-server: max_batch: ")


@without_cuda
def test_required_provider_that_is_missing_is_a_line_and_no_server() -> None:
    done = run_server("--providers", "cuda,cpu", "--require-provider")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("attention-server: CUDA ")
    assert "attention-service[server-gpu]" in line


@pytest.fixture(scope="module")
def wishing_for_cuda() -> Iterator[ServerProcess]:
    with ServerProcess("--providers", "cuda,cpu", "--no-demo") as server:
        yield server


@without_cuda
def test_missing_provider_is_a_line_and_the_next_one_serves(
    wishing_for_cuda: ServerProcess,
) -> None:
    warning, serving = wishing_for_cuda.log

    assert re.search(r"WARNING CUDA .*; serving on CPUExecutionProvider$", warning)
    assert serving.endswith("(CPUExecutionProvider)")


@without_cuda
def test_provider_that_serves_is_told(wishing_for_cuda: ServerProcess) -> None:
    with AttentionClient(wishing_for_cuda.address) as client:
        info = client.server_info()
        result = client.attend("sdpa", [[[1.0]]], num_heads=1)

    assert info.providers == ("CPUExecutionProvider",)
    assert result.execution.provider == "CPUExecutionProvider"


def test_settings_come_from_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('max_batch = 3\ndemo = false\nlog_level = "info"\n')

    with ServerProcess("--config", str(file)) as server, AttentionClient(server.address) as client:
        assert client.server_info().limits.batch == 3


def test_package_without_the_servers_extra_says_so_at_import() -> None:
    """The base install has the module, but not what it needs."""
    done = run_server(
        program="import sys; sys.modules['pydantic_settings'] = None\n"
        "import attention_server\n"
        "print(attention_server.__all__)"
    )

    assert (done.returncode, done.stdout) == (0, "['EmbeddedServer']\n")
