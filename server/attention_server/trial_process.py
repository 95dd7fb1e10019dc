"""The process that models are tried in: it may crash, hang or run out of memory in peace."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import load_runtime
from attention_server.models.graph import fault_in
from attention_server.models.repository import model_of
from attention_server.trial import READY
from attention_service.manifest import Manifest

__all__ = ["main"]

# What it may take beside what was there before it; its files are held more than once.
_MEMORY_BYTES = 1 << 30
_COPIES_OF_FILES = 8
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")  # in ONNX Runtime's words


def main() -> None:
    """Answers one model after the other, from standard input to standard output, until its end."""
    requests = sys.stdin.buffer
    # ONNX Runtime lets other threads of Python run while it loads a graph, and while it computes.
    threading.Thread(target=_end_with, args=(requests.fileno(),), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what others print is no answer
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # only Linux has it: die before the server does
        Path("/proc/self/oom_score_adj").write_text("1000")
    # On the CPU, whatever serves later: a GPU has no bounds that a process sets itself.
    engine = Engine(load_runtime(intra_op_threads=1))
    answers.write(READY)
    answers.flush()
    in_step = True
    while in_step and (line := requests.readline()):
        about = json.loads(line)
        most = _MEMORY_BYTES + _COPIES_OF_FILES * sum(about["sizes"].values())
        _bound_time(about["seconds"])
        _bound_memory(most)
        try:
            fault = _fault(engine, about, requests, most)
        except MemoryError:
            fault = _takes_more_than(most)
            in_step = False  # what is unread of the files is no request
        answers.write(json.dumps(fault).encode() + b"\n")
        answers.flush()


def _end_with(pipe: int) -> None:
    """Ends this process once nobody can write to the pipe: the server is gone, and asks no more."""
    hang_up = select.poll()
    hang_up.register(pipe, 0)
    hang_up.poll()
    os._exit(1)


def _fault(engine: Engine, about: dict[str, Any], requests: IO[bytes], most: int) -> str | None:
    files = {name: requests.read(size) for name, size in about["sizes"].items()}
    try:
        if fault := fault_in(files):
            return fault
        engine.check(model_of(Manifest.from_json(about["manifest"])), files)
    except ModelUnusable as error:
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            return _takes_more_than(most)
        return str(error)
    return None


def _takes_more_than(size: int) -> str:
    return f"it takes more than {size >> 20} MiB to load and run"


def _bound_time(seconds: int) -> None:
    """Lets the process compute so long and a second more, should nobody end it before."""
    with contextlib.suppress(OSError, ValueError):
        spent = math.ceil(time.process_time())
        _bound(resource.RLIMIT_CPU, spent + seconds + 1)


def _bound_memory(most: int) -> None:
    """Lets the process take so many bytes more; on Linux alone."""
    with contextlib.suppress(OSError, ValueError):
        data_pages = int(Path("/proc/self/statm").read_text().split()[5])
        _bound(resource.RLIMIT_DATA, data_pages * resource.getpagesize() + most)


def _bound(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
