"""What keeps a server from starting, or from starting as asked, is one line."""

from __future__ import annotations

import re
import signal
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


# The command, but that a signal comes while a package is imported that loses every exception.
INTERRUPTED = """
import os, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "pydantic_settings":
            try:
                os.kill(os.getpid(), int(sys.argv.pop()))
            except BaseException:
                raise TypeError("said instead of what was raised") from None

sys.meta_path.insert(0, Finder())
from attention_server.cli import main
sys.exit(main())
"""


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_signal_before_it_serves_ends_it_at_once_and_without_a_word(
    number: signal.Signals,
) -> None:
    done = run_server(str(int(number)), program=INTERRUPTED)

    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


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
