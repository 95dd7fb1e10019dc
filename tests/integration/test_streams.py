"""Many requests on one stream: answered as each is done, given up one by one, drained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from attention_server import EmbeddedServer
from attention_server.edge import stream as edge_stream
from attention_server.edge.open_requests import MOST_REQUESTS
from attention_server.edge.traffic import TrafficCounts
from attention_service.v1 import attention_pb2 as pb
from tests.integration.gate import Gate
from tests.messages import floats, sdpa
from tests.stream import Stream, cancel, chunk, in_chunks, request
from tests.wire import Wire

SOON = Duration(nanos=50_000_000)


def attend(query_len: int) -> pb.AttendRequest:
    return sdpa(query=floats(1, query_len, 2), key=None, value=None)


@pytest.fixture
def server(gate: Gate) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo=False, engine_threads=1) as server:
        yield server
        gate.open()


@pytest.fixture
def wire(server: EmbeddedServer) -> Iterator[Wire]:
    with Wire(server.address) as wire:
        yield wire


def code(answer: pb.AttendStreamResponse) -> grpc.StatusCode:
    (found,) = (code for code in grpc.StatusCode if code.value[0] == answer.error.code)
    return found


def test_a_refusal_is_told_while_another_request_is_computed(wire: Wire, gate: Gate) -> None:
    with Stream(wire) as stream:
        stream.send(request("slow", attend(1)), request("wrong", sdpa(model="nobody")))

        assert stream.read().request_id == "wrong"
        gate.open()
        assert stream.read().request_id == "slow"


def test_what_is_done_first_is_answered_first() -> None:
    slow = sdpa(query=floats(1, 6000, 64), key=None, value=None, heads=pb.HeadConfig(num_heads=8))
    with (
        EmbeddedServer(demo=False, engine_threads=2) as server,
        Wire(server.address) as wire,
        Stream(wire) as stream,
    ):
        stream.send(request("slow", slow), request("fast", attend(1)))

        assert [stream.answer().request_id for _ in range(2)] == ["fast", "slow"]


def test_an_unanswered_id_is_refused_and_the_first_request_goes_on(wire: Wire, gate: Gate) -> None:
    with Stream(wire) as stream:
        stream.send(request("a", attend(1)))
        gate.wait_until_reached(1)
        stream.send(request("a", attend(2)))
        refused = stream.read()
        gate.open()
        answered = stream.read()

    assert (refused.request_id, refused.error.reason) == ("a", "INVALID_NAME")
    assert answered.response.output.shape == [1, 1, 2]


@pytest.mark.parametrize("runs", [False, True], ids=["while it waits", "while it is computed"])
def test_cancelled_request_is_answered_at_once_and_frees_its_place(
    wire: Wire, gate: Gate, runs: bool
) -> None:
    with Stream(wire) as stream:
        stream.send(request("a", attend(1)))
        gate.wait_until_reached(1)
        stream.send(request("b", attend(2)))
        gate.wait_until_taken(2)
        given_up, other = ("a", "b") if runs else ("b", "a")
        stream.send(cancel(given_up))
        answer = stream.read()

        assert (answer.request_id, code(answer)) == (given_up, grpc.StatusCode.CANCELLED)
        stream.send(request(given_up, attend(3)))  # the id is free
        gate.open()
        assert {stream.read().request_id for _ in range(2)} == {given_up, other}
    assert gate.reached == ([1, 2, 3] if runs else [1, 3])


def test_request_ends_when_its_time_is_over_and_the_others_go_on(wire: Wire, gate: Gate) -> None:
    with Stream(wire) as stream:
        stream.send(request("a", attend(1), timeout=SOON), request("b", attend(2)))
        late = stream.read()

        assert (late.request_id, code(late)) == ("a", grpc.StatusCode.DEADLINE_EXCEEDED)
        gate.open()
        assert stream.read().request_id == "b"
        stream.send(request("a", attend(1), timeout=Duration(seconds=60)))
        assert stream.read().WhichOneof("part") == "response"


def test_chunks_that_stop_coming_end_their_request(
    wire: Wire, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_stream, "IDLE_SECONDS", 0.1)
    messages = list(in_chunks("a", attend(1), 4))
    with Stream(wire) as stream:
        stream.send(*messages[:-1], request("b", attend(2)))
        late = stream.read()

        assert (late.request_id, code(late)) == ("a", grpc.StatusCode.DEADLINE_EXCEEDED)
        assert late.error.message == "no chunk of it came for 0.1 s, and it is not complete"
        stream.send(messages[-1])
        gate.open()
        assert stream.rest()[0].request_id == "b"


def test_chunks_without_data_keep_nothing_alive(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_stream, "IDLE_SECONDS", 0.2)
    with Stream(wire) as stream:
        stream.send(next(iter(in_chunks("a", attend(1), 4))))
        with ThreadPoolExecutor() as threads:
            reading = threads.submit(stream.read)
            while not reading.done():
                stream.send(chunk("a", "query", b""))
                time.sleep(0.01)

    assert code(reading.result()) is grpc.StatusCode.DEADLINE_EXCEEDED


def test_stream_is_not_read_while_too_many_are_unanswered(wire: Wire, gate: Gate) -> None:
    total = MOST_REQUESTS + 50
    with Stream(wire) as stream:
        stream.send(*(request(f"{i}", attend(1)) for i in range(total)))
        gate.wait_until_taken(MOST_REQUESTS)
        for _ in range(20):  # time enough to read on
            wire.answer("GetServerInfo", b"")
        taken = len(gate.jobs)
        gate.open()
        answers = stream.rest()

    assert taken == MOST_REQUESTS
    assert len(answers) == total
    assert all(answer.WhichOneof("part") == "response" for answer in answers)


def test_caller_that_leaves_gives_all_its_requests_up(
    wire: Wire, gate: Gate, server: EmbeddedServer
) -> None:
    with Stream(wire) as stream:
        stream.send(request("a", attend(1)), request("b", attend(2)))
        gate.wait_until_taken(2)
        stream.call.cancel()
        gate.wait_until_abandoned(2)
        gate.wait_until_settled(gate.jobs[1])
    gate.open()
    server.close()

    assert gate.reached == [1]
    assert server.traffic == TrafficCounts(accepted=2, cancelled=2)


def test_requests_on_a_stream_are_counted_as_calls(
    wire: Wire, gate: Gate, server: EmbeddedServer
) -> None:
    gate.open()
    with Stream(wire) as stream:
        stream.send(
            request("a", attend(1)), request("b", sdpa(model="x")), *in_chunks("c", attend(2), 3)
        )
        stream.rest()
    server.close()

    assert server.traffic == TrafficCounts(accepted=3, answered=2, refused=1)


def test_draining_server_ends_idle_streams_at_once(server: EmbeddedServer, wire: Wire) -> None:
    with Stream(wire) as stream:
        stream.send(request("a", sdpa(model="x")))
        stream.read()  # it is open
        server.close()
        refusal = stream.refusal()

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert server.traffic == TrafficCounts(accepted=1, refused=1)


def test_draining_server_finishes_what_is_in_flight_and_refuses_more(
    server: EmbeddedServer, wire: Wire, gate: Gate
) -> None:
    with Stream(wire) as stream, ThreadPoolExecutor() as threads:
        watch = wire.watch_health()
        next(watch)
        stream.send(request("a", attend(1)))
        gate.wait_until_reached(1)
        closing = threads.submit(server.close)
        next(watch)  # NOT_SERVING
        stream.send(request("b", attend(1)))
        refused = stream.read()
        gate.open()
        answered = stream.read()
        refusal = stream.refusal()
        closing.result()

    assert (refused.request_id, refused.error.reason) == ("b", "SHUTTING_DOWN")
    assert (answered.request_id, answered.WhichOneof("part")) == ("a", "response")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert server.traffic == TrafficCounts(accepted=2, answered=1, refused=1)


def test_what_is_half_sent_is_finished_while_the_server_drains(
    server: EmbeddedServer, wire: Wire, gate: Gate
) -> None:
    gate.open()
    messages = list(in_chunks("a", attend(1), 4))
    with Stream(wire) as stream, ThreadPoolExecutor() as threads:
        watch = wire.watch_health()
        next(watch)
        stream.send(messages[0], request("b", sdpa(model="x")))
        stream.read()  # the first is there too
        closing = threads.submit(server.close)
        next(watch)
        stream.send(*messages[1:])

        assert stream.read().WhichOneof("part") == "response"
        closing.result()
