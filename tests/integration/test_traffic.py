"""Each call is counted once, by what the server made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from attention_server import EmbeddedServer
from attention_server.edge.decoder import Decoder
from attention_server.edge.traffic import TrafficCounts
from attention_service.v1 import attention_pb2 as pb
from tests.integration.gate import Gate
from tests.integration.relay import Relay
from tests.messages import floats, sdpa
from tests.wire import SERVICE, Wire, refusal_of

TINY = sdpa(query=floats(1, 1, 2), key=None, value=None)
PATIENCE_SECONDS = 60


@pytest.fixture
def server(gate: Gate) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo=False, engine_threads=1) as server:
        yield server
        gate.open()


def leave_while_waiting(wire: Wire, gate: Gate, rpc: str, message: Message) -> None:
    """A call waits behind one that is computed, and its caller leaves."""
    first = wire.begin("Attend", TINY)
    gate.wait_until_reached(1)
    waiting = wire.begin(rpc, message)
    gate.wait_until_taken(2)
    waiting.cancel()
    gate.wait_until_settled(gate.jobs[1])
    gate.open()
    first.result()


def answered(wire: Wire, gate: Gate) -> None:
    gate.open()
    wire.answer("Attend", TINY)


def refused_as_wrong(wire: Wire, gate: Gate) -> None:
    wire.refusal("Attend", sdpa(model="nobody"))


def analysed(wire: Wire, gate: Gate) -> None:
    gate.open()
    wire.answer("AnalyzeHeads", pb.AnalyzeHeadsRequest(attend=TINY))


def analysis_left_while_waiting(wire: Wire, gate: Gate) -> None:
    leave_while_waiting(wire, gate, "AnalyzeHeads", pb.AnalyzeHeadsRequest(attend=TINY))


def analysis_refused_as_wrong(wire: Wire, gate: Gate) -> None:
    wire.refusal("AnalyzeHeads", pb.AnalyzeHeadsRequest())


def refused_as_a_stream(wire: Wire, gate: Gate) -> None:
    wire.stream_refusal("AttendStream", [b"\xff"])


def left_while_waiting(wire: Wire, gate: Gate) -> None:
    leave_while_waiting(wire, gate, "Attend", TINY)


def left_while_computed(wire: Wire, gate: Gate) -> None:
    call = wire.begin("Attend", TINY)
    gate.wait_until_reached(1)
    call.cancel()
    gate.wait_until_abandoned(1)
    gate.open()


def out_of_time_while_computed(wire: Wire, gate: Gate) -> None:
    # Told so, gRPC's client starts no clock of its own, which would be ahead of the server's.
    method: Any = wire.channel.unary_unary(f"/{SERVICE}/Attend")
    call = method.future(TINY.SerializeToString(), metadata=[("grpc-timeout", "200m")])
    gate.wait_until_reached(1)
    assert refusal_of(call).code is grpc.StatusCode.DEADLINE_EXCEEDED
    gate.open()


def failed(wire: Wire, gate: Gate) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "decode", None)
        assert wire.refusal("Attend", TINY).reason == "INTERNAL"


@pytest.mark.parametrize(
    ("act", "endings"),
    [
        (answered, {"answered": 1}),
        (refused_as_wrong, {"refused": 1}),
        (analysed, {"answered": 1}),
        (analysis_left_while_waiting, {"answered": 1, "cancelled": 1}),
        (analysis_refused_as_wrong, {"refused": 1}),
        (refused_as_a_stream, {"refused": 1}),
        (left_while_waiting, {"answered": 1, "cancelled": 1}),
        (left_while_computed, {"cancelled": 1}),
        (out_of_time_while_computed, {"expired": 1}),
        (failed, {"failed": 1}),
    ],
    ids=lambda value: value.__name__ if callable(value) else " and ".join(value),
)
def test_call_is_counted_by_its_end(
    server: EmbeddedServer,
    gate: Gate,
    act: Callable[[Wire, Gate], None],
    endings: dict[str, int],
) -> None:
    with Wire(server.address) as wire:
        act(wire, gate)
    server.close()  # drains: every call is over

    assert server.traffic == TrafficCounts(accepted=sum(endings.values()), **endings)


def test_call_that_is_left_while_its_answer_is_sent_was_answered() -> None:
    pairs = sdpa(query=floats(1, 2048, 2), key=None, value=None)
    pairs.outputs.weights.SetInParent()  # 32 MiB, more than sockets hold
    with EmbeddedServer(demo=False) as server, Relay(server.address) as relay:
        with Wire(relay.address) as wire:
            call = wire.begin("Attend", pairs)
            assert relay.holds.wait(PATIENCE_SECONDS)
            on_its_way = server.traffic
            call.cancel()
            relay.release()
        server.close()

    assert on_its_way == TrafficCounts(accepted=1, in_flight=1)
    assert server.traffic == TrafficCounts(accepted=1, answered=1)


def test_call_refused_by_a_draining_server_is_counted(gate: Gate) -> None:
    server = EmbeddedServer(demo=False).start()
    with Wire(server.address) as wire, ThreadPoolExecutor() as threads:
        watch = wire.watch_health()
        next(watch)
        call = wire.begin("Attend", TINY)
        gate.wait_until_reached(1)
        closing = threads.submit(server.close)
        next(watch)  # NOT_SERVING
        wire.refusal("Attend", TINY)
        gate.open()
        call.result()
        closing.result()

    assert server.traffic == TrafficCounts(accepted=2, answered=1, refused=1)


def test_log_tells_how_calls_ended(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("INFO"),
        EmbeddedServer(demo=False) as server,
        Wire(server.address) as wire,
    ):
        wire.answer("Attend", TINY)
        wire.answer("Attend", TINY)
        wire.refusal("Attend", sdpa(model="nobody"))
        server.close()

    assert caplog.messages[-1] == "drained: 3 calls, 2 answered, 1 refused"
