"""SIGTERM: the server says that it leaves, answers what it took, refuses the rest, ends well."""

from __future__ import annotations

import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health_pb2

from attention_server import EmbeddedServer
from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from tests.integration.gate import Gate
from tests.integration.programs import PATIENCE_SECONDS, ServerProcess
from tests.integration.relay import Relay
from tests.messages import floats, sdpa
from tests.wire import SERVICE, Refusal, Wire, refusal_of

# The command, but that its engine says when it begins, and waits for the end of stdin.
# The system gives the signal to the one thread that does not block it.
DEAF_MAIN_THREAD = """
import signal, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
from attention_server.cli import main
sys.exit(main())
"""
GATED = """
import sys
from attention_server.cli import main
from attention_server.engine.engine import Engine
from attention_server.scheduling.scheduler import Scheduler

run, submit = Engine.run, Scheduler.submit

def gated_run(engine, tasks, manner):
    sys.stdin.read()
    yield from run(engine, tasks, manner)

def watched_submit(scheduler, job):
    submit(scheduler, job)
    print("taken", flush=True)

Engine.run, Scheduler.submit = gated_run, watched_submit
Engine.is_brief = lambda *_: False  # nothing holds the event loop
sys.exit(main())
"""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
IN_FLIGHT = [sdpa(query=floats(1, length, 2), key=None, value=None) for length in (1, 2, 3)]


@dataclass
class Drain:
    """What was seen while a server drained with three requests in flight: one runs, two wait."""

    health: list[int] = field(default_factory=list)
    """As watched from before SIGTERM."""
    done_when_not_serving: list[bool] = field(default_factory=list)
    """Of the requests in flight, when health said NOT_SERVING."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    """Of what was sent while it drained."""
    health_while_draining: int = 0
    """As asked on a connection of its own."""
    answers: list[bytes] = field(default_factory=list)
    exit_status: int = -1
    log: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def drain() -> Drain:
    seen = Drain()
    arguments = ("--engine-threads", "1", "--drain-seconds", "300")
    with ServerProcess(*arguments, program=GATED) as server, Wire(server.address) as wire:
        watch = wire.watch_health(SERVICE)
        seen.health.append(next(watch))
        calls = [wire.begin("Attend", request) for request in IN_FLIGHT]
        server.wait_for_line(re.compile("^taken$"), count=len(calls))

        server.terminate()
        seen.health.append(next(watch))
        seen.done_when_not_serving = [call.done() for call in calls]
        for rpc, message in {
            "Attend": sdpa(),
            "ListModels": pb.ListModelsRequest(),
            "AnalyzeHeads": pb.AnalyzeHeadsRequest(),
        }.items():
            seen.refusals[rpc] = wire.refusal(rpc, message)
        with Wire(server.address) as newcomer:
            seen.refusals["Attend on a new connection"] = newcomer.refusal("Attend", sdpa())
            seen.health_while_draining = newcomer.health()

        server.close_stdin()
        seen.answers = [call.result() for call in calls]
        # The health is still watched: it must not keep the server for its 300 seconds.
        seen.exit_status = server.wait()
        seen.log = server.log
    return seen


def test_health_says_not_serving_before_anything_in_flight_is_done(drain: Drain) -> None:
    assert drain.health == [SERVING, NOT_SERVING]
    assert drain.done_when_not_serving == [False] * 3


def test_health_can_be_asked_while_draining(drain: Drain) -> None:
    assert drain.health_while_draining == NOT_SERVING


def test_what_is_in_flight_is_answered(drain: Drain) -> None:
    outputs = [tensor.decode(pb.AttendResponse.FromString(a).output) for a in drain.answers]

    assert [output.shape for output in outputs] == [(1, 1, 2), (1, 2, 2), (1, 3, 2)]


@pytest.mark.parametrize(
    "what", ["Attend", "ListModels", "AnalyzeHeads", "Attend on a new connection"]
)
def test_what_is_new_is_refused_as_unavailable(drain: Drain, what: str) -> None:
    refusal = drain.refusals[what]

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


def test_exit_status_is_0(drain: Drain) -> None:
    assert drain.exit_status == 0


def test_log_says_that_the_server_drains_and_has_drained_and_nothing_else(drain: Drain) -> None:
    told = [line for line in drain.log if line != "taken"]

    assert len(told) == 3
    assert told[0].endswith("(CPUExecutionProvider)")
    assert told[1].endswith("INFO draining; a second signal stops at once")
    assert told[2].endswith("INFO drained: 7 calls, 3 answered, 4 refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_idle_server_ends_on_a_signal_with_status_0(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with ServerProcess() as server:
        server.process.send_signal(number)
        status = server.wait()

    with capsys.disabled():
        print(f"[serving after {server.startup_seconds:.2f} s]", end=" ")  # noqa: T201 - a figure
    assert status == 0


def test_signal_ends_a_server_that_sleeps_whichever_thread_it_comes_in() -> None:
    with ServerProcess(program=DEAF_MAIN_THREAD) as server:
        server.terminate()

        assert server.wait() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize(
    ("grace_seconds", "waits_for"),
    [("300", "draining; "), ("0", "gave up what was in flight")],
    ids=["while callers are waited for", "while an engine thread is waited for"],
)
def test_second_signal_stops_at_once(
    second: signal.Signals, grace_seconds: str, waits_for: str
) -> None:
    arguments = ("--engine-threads", "1", "--drain-seconds", grace_seconds)
    with ServerProcess(*arguments, program=GATED) as server, Wire(server.address) as wire:
        call = wire.begin("Attend", sdpa())
        server.wait_for_line(re.compile("^taken$"))
        server.terminate()
        server.wait_for_line(re.compile(waits_for))

        server.process.send_signal(second)

        assert server.wait() == 128 + second
        assert refusal_of(call).code is grpc.StatusCode.UNAVAILABLE
    assert server.log[-1].endswith("stopped at once by a second signal; what was in flight is lost")
    assert sum("second signal" in line for line in server.log) == 2


def test_what_is_not_done_within_the_grace_period_is_given_up(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedServer(demo=False, drain_seconds=0.1, engine_threads=1)
    with ThreadPoolExecutor() as threads, Wire(server.__enter__().address) as wire:
        running = wire.begin("Attend", sdpa())
        gate.wait_until_reached(1)
        waiting = wire.begin("Attend", sdpa())
        gate.wait_until_taken(2)
        ending = threads.submit(server.__exit__, None, None, None)
        codes = {refusal_of(call).code for call in (running, waiting)}
        gate.wait_until_settled(gate.jobs[1])
        gate.open()  # what runs is not interrupted
        ending.result()

    assert codes == {grpc.StatusCode.UNAVAILABLE}
    assert len(gate.reached) == 1
    assert "gave up what was in flight" in caplog.text


def test_an_answer_on_its_way_arrives_whole() -> None:
    with (
        ServerProcess("--drain-seconds", "300", "--no-demo") as server,
        Relay(server.address) as relay,
        Wire(relay.address) as wire,
    ):
        pairs = sdpa(query=floats(1, 2048, 2), key=None, value=None)
        pairs.outputs.weights.SetInParent()  # 32 MiB, more than sockets hold
        call = wire.begin("Attend", pairs)
        assert relay.holds.wait(PATIENCE_SECONDS)

        server.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(3)  # it would not need a moment if it did not wait for the caller
        relay.release()

        answer = pb.AttendResponse.FromString(call.result())
        assert len(answer.weights.data) == 4 * 2 * 2048 * 2048
        assert server.wait() == 0
