"""docker-compose.yml brought up under a project, a port and a models directory of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[2] / "docker-compose.yml"
_PATIENCE_SECONDS = 120


class Composition:
    """The container of the service "server".

    Args:
        models: The directory that it sees as /models.
    """

    def __init__(self, models: Path) -> None:
        self.models = models
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        self._compose = [*_compose(), "--file", str(_FILE)]
        ours = ("ATTENTION_", "COMPOSE_")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "ATTENTION_MODELS": str(models),
            "ATTENTION_PORT": str(port),
            "COMPOSE_PROJECT_NAME": f"attention-test-{uuid.uuid4().hex[:12]}",
        }
        self._container = ""

    def up(self) -> None:
        """Builds and starts what `up` does, and returns once the server is healthy."""
        self._run(*self._compose, "up", "--build", "--detach")
        (self._container,) = self._run(*self._compose, "ps", "--quiet").split()
        self._wait_until_healthy()

    def ensure_up(self) -> None:
        """Returns once the server is healthy, started again where it was stopped."""
        if not self.inspect()["State"]["Running"]:
            self._run(*self._compose, "start")
        self._wait_until_healthy()

    def restart(self) -> None:
        """Stops and starts the server, and returns once it is healthy."""
        self._run(*self._compose, "restart")
        self._wait_until_healthy()

    def stop(self) -> None:
        """Returns once the server has ended, of its own accord or of the engine's."""
        self._run(*self._compose, "stop")

    def down(self) -> None:
        """Leaves nothing behind."""
        options = ("--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "1")
        self._run(*self._compose, "down", *options)

    def inspect(self) -> Any:
        """Returns all that the engine knows of the container."""
        return json.loads(self._run("docker", "inspect", self._container))[0]

    def execute(self, program: str, *options: str) -> str:
        """Returns what a Python program prints that runs inside, beside the server."""
        return self._run("docker", "exec", self._container, "python", *options, "-c", program)

    def log(self) -> list[str]:
        """Returns the lines that the server has written, over all its starts."""
        return self._run("docker", "logs", self._container).splitlines()

    def _wait_until_healthy(self) -> None:
        since = time.time()
        if self.inspect()["State"]["Health"]["Status"] == "healthy":
            return
        events = self._run(
            *("docker", "events", "--format", "{{.Action}}"),
            *("--since", f"{since:.3f}", "--until", f"{since + _PATIENCE_SECONDS:.3f}"),
            *("--filter", f"container={self._container}"),
            *("--filter", "event=health_status", "--filter", "event=die"),
            first_line=True,
        )
        assert events == "health_status: healthy", "\n".join([events, *self.log()])

    def _run(self, *command: str, first_line: bool = False) -> str:
        """Returns what a command writes; where asked, its first line, and then ends it."""
        with subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            if first_line:
                line = process.stdout.readline().strip()
                process.kill()
                return line
            said = process.stdout.read()
        assert process.returncode == 0, f"{' '.join(command)}\n{said}"
        return said


def _compose() -> tuple[str, ...]:
    """Returns Compose v2 where it is there, else docker-compose."""
    v2 = ("docker", "compose")
    asked = subprocess.run([*v2, "version"], capture_output=True, check=False)
    return v2 if asked.returncode == 0 else ("docker-compose",)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
