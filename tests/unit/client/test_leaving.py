"""What an open stream must not keep: a process, a client that nobody has, Ctrl-C."""

from __future__ import annotations

import _thread
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from attention_client import AttentionClient
from tests.unit.client.scripted_stream import PATIENCE_SECONDS, ScriptedStream, echo, silence

Serve = Callable[..., str]

QUERY = [[[0.0]]]


@pytest.mark.parametrize(
    "end",
    ["", "del client", "client.close()", "results = client.attend_many([call] * 9); next(results)"],
    ids=["open", "forgotten", "closed", "amid many"],
)
def test_process_ends_though_a_stream_is_open(serve: Serve, end: str) -> None:
    server = ScriptedStream(serve, echo)
    program = f"""
from attention_client import AttentionClient
client = AttentionClient({server.address!r})
call = {{"model": "m", "query": {QUERY}}}
client.attend(**call)
{end}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert server.streams == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_child_of_a_fork_leaves_the_stream_to_its_parent(serve: Serve) -> None:
    server = ScriptedStream(serve, echo)
    program = f"""
import os
from attention_client import AttentionClient
client = AttentionClient({server.address!r})
client.attend("m", {QUERY})
if os.fork() == 0:
    os._exit(client._transport.stream(needed=True) is not None)
assert os.wait()[1] == 0
print(client.attend("m", {QUERY}).model)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "m\n"), ended.stderr
    assert server.streams == 1


def test_stream_of_a_forgotten_client_ends(serve: Serve) -> None:
    server = ScriptedStream(serve, echo)
    client = AttentionClient(server.address)
    client.attend("m", QUERY)
    stream = weakref.ref(client._transport.stream(needed=True))

    del client

    until = time.monotonic() + PATIENCE_SECONDS
    while stream() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert stream() is None


def test_client_goes_on_after_ctrl_c(serve: Serve) -> None:
    server = ScriptedStream(serve, silence)

    def interrupt() -> None:
        server.arrived.wait(PATIENCE_SECONDS)
        _wait_until_main_thread_waits()
        _thread.interrupt_main()

    with AttentionClient(server.address) as client:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            client.attend("m", QUERY, request_id="first")
        interrupting.join()
        server.script = echo
        assert client.attend("m", QUERY).model == "m"

    assert server.cancelled == ["first"]
    assert server.streams == 1


def _wait_until_main_thread_waits() -> None:
    """Returns once the main thread has stood at one instruction for a while."""
    main = threading.main_thread().ident
    assert main is not None
    seen: list[tuple[object, int]] = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        frame = sys._current_frames()[main]
        seen.append((frame.f_code, frame.f_lasti))
        del frame
        time.sleep(0.02)
