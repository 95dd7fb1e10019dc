"""A server that ends while it tries a model leaves no process behind that tries on."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.broken_models import replaced
from tests.integration.programs import PATIENCE_SECONDS, environment
from tests.slow_model import slow

# The server, but that the process which tries a model says so once it has computed for a second,
# and holds the pipe in which it says it open until its end.
SERVER = """
import sys
from attention_server import trial
from attention_server.cli import main
trial._PROGRAM = '''
import os, signal, sys
sys.path[:] = sys.argv[1:]
from attention_server import trial_process
check = trial_process.Engine.check
def check_and_tell(*arguments):
    pipe = os.open({pipe!r}, os.O_WRONLY)
    os.set_blocking(pipe, False)
    signal.set_wakeup_fd(pipe)
    signal.signal(signal.SIGPROF, lambda *_: None)
    signal.setitimer(signal.ITIMER_PROF, 1)
    check(*arguments)
trial_process.Engine.check = check_and_tell
trial_process.main()
'''
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_process_that_tries_a_model_ends_with_the_server(
    models: Path, tmp_path: Path, number: signal.Signals
) -> None:
    directory = tmp_path / "models" / "layer" / "2"
    shutil.copytree(models / "layer" / "2", directory)
    replaced("combine.onnx", slow)(directory)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    flags = ("--listen", "127.0.0.1:0", "--models", str(tmp_path / "models"))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER.format(pipe=str(pipe)), *flags],
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as server:
        # Not for writing, whose end would never come; and without waiting for a writer.
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert told(reading) == bytes([signal.SIGPROF]), "no model was tried"
            server.send_signal(number)
            assert told(reading) == b"", "it is still there"
        finally:
            server.kill()
            os.close(reading)


def told(reading: int) -> bytes:
    """Returns what comes from a pipe next; b"" at its end."""
    ready, _, _ = select.select([reading], [], [], PATIENCE_SECONDS)
    assert ready, "nothing came"
    return os.read(reading, 100)
