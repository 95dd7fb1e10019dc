"""What a stream takes of the server's memory, whoever is slow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from tests.integration.programs import ServerProcess
from tests.integration.test_memory_of_requests import BLOCKS, GAPS, MIB, WEIGHTS, Memory, array, ask
from tests.messages import raw, sdpa
from tests.stream import Stream, in_chunks, request
from tests.wire import Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")

UNANSWERED = 64 * MIB  # of two requests or more, with which a stream is not read on
SECONDS = 3.0  # for the server to take as much as it would


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--no-demo") as server:
        yield server


@pytest.fixture
def memory(server: ServerProcess) -> Iterator[Memory]:
    with Wire(server.address) as wire, Stream(wire) as stream:
        stream.send(request("a", ask(array(1, 4, 8), 2, weights=WEIGHTS)))
        stream.rest()
    memory = Memory(server)
    memory.forget_peak()
    yield memory
    memory.wait_until_idle()


def test_a_request_and_an_answer_larger_than_any_message_pass_in_bounded_memory(
    server: ServerProcess, memory: Memory
) -> None:
    query = np.sin(np.arange(40_000 * 512, dtype=np.float32)).reshape(1, 40_000, 512)  # 78 MiB
    attend = ask(tensor.encode(query), 8, key=array(1, 4, 512))
    with Wire(server.address) as wire, Stream(wire) as stream:
        stream.send(*in_chunks("a", attend, MIB))
        answer = stream.read()
        received = sum(len(chunk.chunk.data) for chunk in stream.rest())

    assert answer.chunked
    assert received == query.nbytes > 64 * MIB
    # The tensor, its heads and the output's, and the output; each is made of the one before.
    assert memory.peak <= 4 * query.nbytes + BLOCKS + GAPS


def test_answers_that_nobody_reads_stop_the_reading(server: ServerProcess, memory: Memory) -> None:
    large = ask(array(1, 1000, 8), 4, weights=WEIGHTS, omit_output=True)  # 16 MB of weights
    with Wire(server.address) as wire, Stream(wire) as stream, Wire(server.address) as other:
        stream.send(*(request(f"{i}", large) for i in range(60)))
        _let_pass(other)
        assert memory.peak <= UNANSWERED + 3 * 16 * MIB + BLOCKS + GAPS

        stream.close()
        assert (
            len({pb.AttendStreamResponse.FromString(data).request_id for data in stream.call}) == 60
        )


def test_what_is_announced_and_does_not_come_takes_nothing(
    server: ServerProcess, memory: Memory
) -> None:
    wide = raw(pb.DATA_TYPE_FLOAT32, (1, 65_536, 2048), b"\0" * 4)  # 512 MiB
    announced = ask(wide, 8, key=array(1, 4, 2048), omit_output=True, log_sum_exp=True)
    with Wire(server.address) as wire, Stream(wire) as stream, Wire(server.address) as other:
        stream.send(*(request(f"{i}", announced, chunked=True) for i in range(16)))
        _let_pass(other)

        assert memory.peak <= 100 * MIB
        stream.send(request("wrong", sdpa(model="nobody")))
        assert stream.read().request_id == "wrong"  # the others were taken


def _let_pass(wire: Wire) -> None:
    """Gives the server time, in which it answers others."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert wire.answer("Attend", sdpa())
        time.sleep(0.1)
