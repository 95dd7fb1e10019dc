"""A server process whose insides can be asked for."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.programs import PATIENCE_SECONDS, ServerProcess

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="figures come from /proc and glibc"
)

# The command, but that it answers each line of stdin with a line of figures. What the server holds
# is to be measured, and not what glibc's allocator keeps for the next time: so that has one arena
# in place of many, which fragment as chance has it, and gives back what is free beforehand.
_WATCHED = """
import os
os.environ["GRPC_VERBOSITY"] = "NONE"  # as main does, before gRPC is there
import asyncio, ctypes, dataclasses, json, sys, threading
from attention_server.app import App
from attention_server.cli import main

libc = ctypes.CDLL(None)
libc.mallopt(-8, 1)  # M_ARENA_MAX
start = App.start

async def watched_start(app):
    loop = asyncio.get_running_loop()

    async def figures():
        libc.malloc_trim(0)
        return {
            **dataclasses.asdict(app.traffic),
            "waiting": list(app.waiting),
            "tasks": len(asyncio.all_tasks()),
        }

    def answer():
        for _ in sys.stdin:
            done = asyncio.run_coroutine_threadsafe(figures(), loop)
            print("figures", json.dumps(done.result()), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    return await start(app)

App.start = watched_start
sys.exit(main())
"""


@dataclass(frozen=True)
class Figures:
    """What a server holds at one moment."""

    accepted: int
    in_flight: int
    answered: int
    refused: int
    cancelled: int
    expired: int
    failed: int
    waiting: list[int]
    tasks: int
    files: int
    threads: int
    resident_kib: int

    def at_rest(self) -> bool:
        """Returns whether every call that came has ended, none by a fault, and nothing waits."""
        ended = self.answered + self.refused + self.cancelled + self.expired
        return self.accepted == ended and not (self.in_flight or self.failed or any(self.waiting))

    def as_before(self, before: Figures) -> bool:
        """Returns whether no call and no connection is left of what came since then."""
        return self.at_rest() and self.files <= before.files and self.tasks <= before.tasks


class WatchedServer(ServerProcess):
    """A server process that tells figures."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments, program=_WATCHED)
        self._asked = 0

    def __enter__(self) -> WatchedServer:
        return self

    def figures(self) -> Figures:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._asked += 1
        line = self.wait_for_line(re.compile("^figures (.*)$"), count=self._asked)
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Figures(
            **json.loads(line[1]),
            files=len(list((proc / "fd").iterdir())),
            threads=int(status["Threads"]),
            resident_kib=int(status["RssAnon"].split()[0]),
        )

    def figures_once(self, settled: Callable[[Figures], bool]) -> Figures:
        """Returns the figures once they are as they should be, or as they are after patience."""
        end = time.monotonic() + PATIENCE_SECONDS / 6
        while not settled(figures := self.figures()) and time.monotonic() < end:
            time.sleep(0.05)
        return figures
