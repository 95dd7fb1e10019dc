"""Whatever is sent, the answer is finite or an error that is the caller's; nobody hangs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from tests.contract.fuzz.chance import Chance
from tests.contract.fuzz.corpus import GOOD, STREAMED
from tests.contract.fuzz.mutation import Mutator
from tests.contract.fuzz.requests import requests
from tests.contract.fuzz.right_requests import right_requests
from tests.contract.fuzz.verdict import ANSWERED, finding, finding_on_stream, outcome
from tests.contract.pipelined import Call, begin, ended
from tests.integration.programs import ServerProcess
from tests.made_models import write_models
from tests.stream import Stream
from tests.wire import Wire

MUTATED, GENERATED = 20_000, 5_000
STREAMS, MESSAGES = 600, 6
GOOD_EVERY = 25
TOLD = 5
# Seen in a run: a fifth of the mutants answered, and nine reasons for more than 1 % of them each.
LEAST_ANSWERED, LEAST_OF_A_REASON, REASONS = 0.05, 0.01, 5


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server in a process of its own, with every kind of model."""
    directory = tmp_path_factory.mktemp("kinds") / "models"
    shutil.copytree(models, directory)
    write_models(directory)
    with ServerProcess("--models", str(directory)) as server:
        yield server
        assert server.process.poll() is None, server.log


@pytest.fixture(scope="module")
def wire(server: ServerProcess) -> Iterator[Wire]:
    with Wire(server.address) as wire:
        yield wire


def without_times(answer: bytes) -> bytes:
    """Returns an answer but for how it was computed, which differs each time."""
    response = pb.AttendResponse.FromString(answer)
    response.ClearField("execution")
    return response.SerializeToString(deterministic=True)


def is_message(data: bytes) -> bool:
    try:
        pb.AttendStreamRequest.FromString(data)
    except DecodeError:
        return False
    return True


def assert_diverse(outcomes: Counter[str], *, good: int = 0) -> None:
    """Refuses a run in which all ended alike, but for ``good`` answers: that would test one check.

    Of what is damaged enough of it gets as far as an answer, and enough to each of several checks.
    """
    sent = outcomes.total() - good
    answered = outcomes[ANSWERED] - good
    usual = [
        reason
        for reason, times in outcomes.items()
        if reason != ANSWERED and times >= sent * LEAST_OF_A_REASON
    ]
    assert answered >= sent * LEAST_ANSWERED, outcomes
    assert len(usual) >= REASONS, outcomes


def test_corpus_is_answered(wire: Wire) -> None:
    for good in GOOD:
        assert wire.answer(good.rpc, good.message) or good.rpc == "GetServerInfo"


def test_mutated_requests_are_answered_or_refused_and_cost_nobody_else_anything(
    server: ServerProcess, wire: Wire, fuzz_seed: int, fuzz_times: int
) -> None:
    mutator = Mutator(Chance(fuzz_seed), GOOD)
    attends = [good for good in GOOD if good.rpc == "Attend"]
    right = {good.data: without_times(wire.answer("Attend", good.data)) for good in attends}

    def drawn() -> Iterator[Call]:
        for i in range(MUTATED * fuzz_times):
            if i % GOOD_EVERY == 0:
                yield Call("Attend", attends[i // GOOD_EVERY % len(attends)].data)
            yield mutator.mutant()

    findings, outcomes = [], Counter[str]()
    for sent, call in ended(wire, drawn()):
        found = finding(sent.rpc, call)
        outcomes[outcome(call)] += 1
        expected = right.get(sent.data) if sent.rpc == "Attend" else None
        if not found and expected is not None and without_times(call.result()) != expected:
            found = "answered otherwise than alone"
        if found:
            findings.append(f"{sent.rpc} {sent.data.hex()}: {found}")

    told = "\n".join(findings[:TOLD])
    assert not findings, f"{len(findings)} with --fuzz-seed={fuzz_seed}, among them\n{told}"
    times = MUTATED * fuzz_times
    assert outcomes.total() == times + times // GOOD_EVERY
    assert_diverse(outcomes, good=times // GOOD_EVERY)
    assert len(server.log) == 1, server.log


def test_mutated_messages_on_a_stream_are_answered_or_refused_in_band(
    server: ServerProcess, wire: Wire, fuzz_seed: int, fuzz_times: int
) -> None:
    mutator = Mutator(Chance(fuzz_seed), STREAMED)
    outcomes = Counter[str]()
    for _ in range(STREAMS * fuzz_times):
        drawn = (mutator.mutant().data for _ in count())
        # What is no message ends the stream, and comes last.
        sent = [*islice(filter(is_message, drawn), MESSAGES), next(drawn)]
        told = f"--fuzz-seed={fuzz_seed} {[data.hex() for data in sent]}"
        with Stream(wire) as stream:
            stream.send(*sent)
            answers, refusal = stream.ended()
        for answer in answers:
            found = finding_on_stream(answer)
            assert not found, f"{found}: {told}"
            outcomes[answer.error.reason or ANSWERED] += 1
        if refusal is not None:
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, told
            outcomes[refusal.reason] += 1

    assert outcomes[ANSWERED] >= outcomes.total() * LEAST_ANSWERED, outcomes
    assert len(outcomes) > REASONS, outcomes
    assert len(server.log) == 1, server.log


def test_generated_requests_are_answered_in_finite_numbers_or_refused(
    server: ServerProcess, wire: Wire, fuzz_seed: int, fuzz_times: int
) -> None:
    outcomes = Counter[str]()

    # Drawn anew in CI too; the seed, and not a database, has a failure again.
    @seeded(fuzz_seed)
    @settings(
        max_examples=GENERATED * fuzz_times,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(request=requests())
    def check(request: pb.AttendRequest) -> None:
        call = begin(wire, Call("Attend", request.SerializeToString()))
        assert finding("Attend", call) == "", f"--fuzz-seed={fuzz_seed}"
        outcomes[outcome(call)] += 1

    check()
    assert outcomes.total() >= GENERATED * fuzz_times, outcomes
    assert_diverse(outcomes)
    assert len(server.log) == 1, server.log


@given(request=right_requests())
def test_weights_of_a_row_sum_to_one_or_to_nothing(wire: Wire, request: pb.AttendRequest) -> None:
    request.outputs.CopyFrom(pb.OutputSpec(weights=pb.WeightsSpec()))
    call = begin(wire, Call("Attend", request.SerializeToString()))

    assert finding("Attend", call) == ""
    if call.exception() is None:
        weights = tensor.decode(pb.AttendResponse.FromString(call.result()).weights)
        sums = weights.sum(axis=-1)
        assert (np.isclose(sums, 1.0, atol=1e-6) | (sums == 0.0)).all()
