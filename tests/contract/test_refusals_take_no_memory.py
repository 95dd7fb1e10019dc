"""What was refused is forgotten: memory returns to where it was, and the log stays empty."""

from __future__ import annotations

import platform
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import Malformed
from tests.contract.malformed.table import ROWS
from tests.contract.pipelined import Call, ended
from tests.integration.programs import ServerProcess
from tests.messages import masked
from tests.wire import Wire

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="needs Linux's /proc to see a process's memory, and glibc to give back what is free",
)

MIB = 1 << 20
WARMING, WATCHED = 2, 3
"""Times that the whole table is sent: until nothing new is made, and while memory is watched."""

# What malloc and Python keep for later is given back before a look, so that what is left is held.
# One heap, for of several malloc gives back only the first.
PROGRAM = """
import ctypes, gc, signal, sys
from attention_server.cli import main

libc = ctypes.CDLL(None)
M_ARENA_MAX = -8
libc.mallopt(M_ARENA_MAX, 1)

def give_back(*_):
    gc.collect()
    libc.malloc_trim(0)
    print("given back", file=sys.stderr, flush=True)

signal.signal(signal.SIGUSR1, give_back)
main()
"""
_GIVEN_BACK = re.compile("^given back$")


class Watched:
    """A server, a connection to it, and the memory that it holds."""

    def __init__(self, server: ServerProcess, wire: Wire) -> None:
        self.wire = wire
        self.server = server
        self._process = Path(f"/proc/{server.process.pid}")
        self._looks = 0

    def held(self) -> int:
        """Returns the bytes that it holds; nobody may be calling it."""
        self._looks += 1
        self.server.process.send_signal(signal.SIGUSR1)
        self.server.wait_for_line(_GIVEN_BACK, self._looks)
        return self._bytes("smaps_rollup", "Anonymous")

    def peak(self, size: int, work: Callable[[], object]) -> float:
        """Returns how much more it held at once during the work, in messages of this size."""
        (self._process / "clear_refs").write_text("5")  # the high-water mark starts anew
        before = self._bytes("status", "VmRSS")
        work()
        return (self._bytes("status", "VmHWM") - before) / size

    def _bytes(self, file: str, name: str) -> int:
        text = (self._process / file).read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        return 1024 * int(found[1])


@pytest.fixture(scope="module")
def watched(models: Path) -> Iterator[Watched]:
    with (
        ServerProcess("--models", str(models), program=PROGRAM) as server,
        Wire(server.address) as wire,
    ):
        yield Watched(server, wire)


def call_of(row: Malformed) -> Call:
    request = row.request
    return Call(row.rpc, request if isinstance(request, bytes) else request.SerializeToString())


def send_table(wire: Wire, times: int) -> None:
    for _ in range(times):
        calls = ended(wire, map(call_of, ROWS))
        for row, (_, call) in zip(ROWS, calls, strict=True):
            assert call.code() is row.code, row.what


def test_memory_is_back_within_a_mebibyte_after_thousands_of_refusals(watched: Watched) -> None:
    send_table(watched.wire, WARMING)
    before = watched.held()
    send_table(watched.wire, WATCHED)
    growth = watched.held() - before  # a leak of 320 bytes a refusal is over the limit

    assert growth < MIB, f"{growth / (WATCHED * len(ROWS)):.0f} bytes a refusal"


def test_what_callers_do_wrong_is_not_logged(watched: Watched) -> None:
    send_table(watched.wire, 1)
    watched.held()  # a line that comes after all others

    assert [line for line in watched.server.log[1:] if not _GIVEN_BACK.match(line)] == []


def test_list_without_end_takes_no_more_memory_than_a_tensor_of_its_bytes(
    watched: Watched,
) -> None:
    size = 32 * MIB
    tensor = pb.AttendRequest(model="nobody", query=pb.Tensor(data=bytes(size))).SerializeToString()
    entries = masked(kv_lengths=[1] * size).SerializeToString()

    tensors = watched.peak(size, lambda: watched.wire.refusal("Attend", tensor))
    lists = watched.peak(size, lambda: watched.wire.refusal("Attend", entries))

    assert lists < tensors + 0.5, f"{lists:.1f} times its bytes, {tensors:.1f} as a tensor"
