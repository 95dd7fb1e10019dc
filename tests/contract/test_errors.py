"""Each fact, from where the server finds it to the exception that the SDK's caller sees."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import attention_client as sdk
from attention_client import AttentionClient
from attention_client.errors import CLASS_BY_CODE, CLASS_BY_REASON
from attention_server import EmbeddedServer
from attention_server.domain import errors
from attention_server.edge.status import STATUS_CODES, status_of
from attention_server.engine.engine import Engine
from attention_service.reasons import DOMAIN, Reason
from attention_service.v1 import attention_pb2 as pb
from tests.messages import sdpa
from tests.stream import Stream, request
from tests.wire import Wire

Invalid, Limit = errors.InvalidRequest, errors.LimitExceeded
VIOLATION = errors.Violation("mask.kv_lengths[2]", "must be 0 to 4, not 5")

FACTS: dict[Reason, tuple[errors.RequestError, str, type[sdk.AttentionError]]] = {
    **{
        reason: (Invalid(reason, VIOLATION), "INVALID_ARGUMENT", sdk.InvalidRequestError)
        for reason in (
            Reason.MALFORMED_MESSAGE,
            Reason.MISSING_FIELD,
            Reason.INVALID_NAME,
            Reason.INVALID_ENUM,
            Reason.INVALID_DATA_TYPE,
            Reason.INVALID_SHAPE,
            Reason.INVALID_BYTE_LENGTH,
            Reason.INVALID_COUNT,
            Reason.OUT_OF_RANGE,
            Reason.INVALID_HEADS,
            Reason.MASK_NOT_SUPPORTED,
            Reason.POSITIONS_NOT_USED,
            Reason.POSITIONS_REQUIRED,
            Reason.OUTPUT_NOT_SUPPORTED,
        )
    },
    **{
        reason: (Invalid(reason, VIOLATION), "INVALID_ARGUMENT", sdk.NonFiniteError)
        for reason in (Reason.NON_FINITE, Reason.SCORE_OVERFLOW, Reason.VALUE_OVERFLOW)
    },
    **{
        reason: (Limit(reason, VIOLATION), "INVALID_ARGUMENT", sdk.LimitExceededError)
        for reason in (
            Reason.BATCH_LIMIT,
            Reason.LENGTH_LIMIT,
            Reason.WORK_LIMIT,
            Reason.TENSOR_LIMIT,
            Reason.ANSWER_LIMIT,
        )
    },
    Reason.MESSAGE_LIMIT: (
        Limit(Reason.MESSAGE_LIMIT, VIOLATION),
        "INVALID_ARGUMENT",
        sdk.RequestTooLargeError,
    ),
    **{
        reason: (errors.ModelNotFound(reason, "no model x"), "NOT_FOUND", sdk.ModelNotFoundError)
        for reason in (Reason.MODEL_NOT_FOUND, Reason.VERSION_NOT_FOUND)
    },
    Reason.QUEUE_FULL: (errors.QueueFull(0.25), "UNAVAILABLE", sdk.ServerBusyError),
    Reason.SHUTTING_DOWN: (errors.ShuttingDown(), "UNAVAILABLE", sdk.ServerUnavailableError),
    Reason.DEADLINE_EXCEEDED: (
        errors.DeadlinePassed(),
        "DEADLINE_EXCEEDED",
        sdk.DeadlineExceededError,
    ),
    Reason.CANCELLED: (errors.Abandoned(), "CANCELLED", sdk.RequestCancelledError),
    Reason.NOT_IMPLEMENTED: (
        errors.NotBuilt("This"),
        "UNIMPLEMENTED",
        sdk.NotImplementedByServerError,
    ),
}
INSIDE = "/srv/models/secret.onnx: RuntimeException"


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo=False) as server:
        yield server


@pytest.fixture
def engine_gives(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Puts an engine in place that answers with an error, or raises what is none of ours."""

    def give(error: Exception) -> None:
        def run(self: Engine, *_: Any) -> Iterator[Exception]:
            if not isinstance(error, errors.RequestError):
                raise error
            yield error

        monkeypatch.setattr(Engine, "run", run)

    return give


def test_every_error_of_the_server_has_its_status() -> None:
    assert set(STATUS_CODES) == set(subclasses(errors.RequestError))


def test_every_reason_is_a_fact_of_this_table_or_a_fault_of_the_server() -> None:
    assert set(FACTS) | {Reason.INTERNAL} == set(Reason)


def test_every_reason_and_every_status_has_its_error_in_the_sdk() -> None:
    assert set(CLASS_BY_REASON) == set(Reason)
    assert {code.name for code in STATUS_CODES.values()} <= set(CLASS_BY_CODE)


@pytest.mark.parametrize("reason", FACTS, ids=str)
def test_reason_becomes_its_status_and_then_its_error(
    server: EmbeddedServer,
    engine_gives: Callable[[Exception], None],
    reason: Reason,
) -> None:
    error, code, expected = FACTS[reason]
    engine_gives(error)

    with AttentionClient(server.address, retry=None) as client, pytest.raises(expected) as caught:
        client.attend("sdpa", [[[1.0]]], num_heads=1)

    raised = caught.value
    assert type(raised) is expected
    assert (raised.reason, raised.code, raised.message) == (reason, code, error.message)


@pytest.mark.parametrize("reason", FACTS, ids=str)
def test_reason_is_told_in_band_as_it_is_in_a_status(
    server: EmbeddedServer, engine_gives: Callable[[Exception], None], reason: Reason
) -> None:
    error, code, _ = FACTS[reason]
    engine_gives(error)

    with Wire(server.address) as wire, Stream(wire) as stream:
        stream.send(request("a", sdpa()))
        (answer,) = stream.rest()

    told = answer.error
    assert (told.reason, told.message) == (reason, error.message)
    assert told.code == grpc.StatusCode[code].value[0]
    at_fault = error.violations if isinstance(error, errors.InvalidRequest) else ()
    assert [(v.field, v.description) for v in told.violations] == list(at_fault)
    retry = error.retry_after_seconds if isinstance(error, errors.QueueFull) else 0
    assert told.retry_after.ToTimedelta().total_seconds() == retry


def test_fields_at_fault_reach_the_caller(
    server: EmbeddedServer, engine_gives: Callable[[Exception], None]
) -> None:
    engine_gives(Invalid(Reason.OUT_OF_RANGE, VIOLATION, VIOLATION))

    with (
        AttentionClient(server.address) as client,
        pytest.raises(sdk.InvalidRequestError) as caught,
    ):
        client.attend("sdpa", [[[1.0]]], num_heads=1)

    assert caught.value.violations == (sdk.FieldViolation(*VIOLATION),) * 2


def test_time_to_wait_reaches_the_caller(
    server: EmbeddedServer, engine_gives: Callable[[Exception], None]
) -> None:
    engine_gives(errors.QueueFull(0.25))

    with (
        AttentionClient(server.address, retry=None) as client,
        pytest.raises(sdk.ServerBusyError) as caught,
    ):
        client.attend("sdpa", [[[1.0]]], num_heads=1)

    assert caught.value.retry_after == 0.25


def test_details_stay_short_however_many_fields_are_at_fault() -> None:
    many = [
        errors.Violation(f"outputs.weights.query_indices[{i}]", f"must be 0 to 9, not {2**63}")
        for i in range(10_000)
    ]

    status = status_of(Invalid(Reason.OUT_OF_RANGE, *many))

    assert sum(detail.ByteSize() for detail in status.details) < 4000
    assert status.message.endswith("(and more)")


def test_fault_of_the_engine_is_an_id_to_the_caller_and_a_traceback_in_the_log(
    server: EmbeddedServer,
    engine_gives: Callable[[Exception], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine_gives(RuntimeError(INSIDE))

    with Wire(server.address) as wire, caplog.at_level(logging.ERROR):
        refusal = wire.refusal("Attend", sdpa())

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert refusal.domain == DOMAIN
    (identifier,) = re.findall(r"[0-9a-f]{16}", refusal.message)
    assert refusal.metadata == (("id", identifier),)
    assert INSIDE.encode() not in refusal.details
    assert "secret" not in refusal.message
    (record,) = (r for r in caplog.records if identifier in r.getMessage())
    assert record.exc_info is not None
    assert INSIDE in str(record.exc_info[1])


def test_fault_of_a_describing_call_is_an_id_to_the_caller(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The catalogue is what GetModel asks; the handler itself is bound already.
    monkeypatch.setattr("attention_server.domain.catalog.Catalog.find", lambda *_: 1 / 0)

    with Wire(server.address) as wire:
        refusal = wire.refusal("GetModel", pb.GetModelRequest(model="sdpa"))

    assert refusal.reason == "INTERNAL"
    assert "division" not in refusal.message
    assert "division" in caplog.text


def test_fault_on_a_stream_is_an_id_in_band_and_the_stream_goes_on(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Wire(server.address) as wire, Stream(wire) as stream:
        for at_fault in ("edge.decoder.read", "engine.engine.Engine.run"):
            with monkeypatch.context() as faulty:
                faulty.setattr(f"attention_server.{at_fault}", lambda *_: 1 / 0)
                stream.send(request("a", sdpa()))
                error = stream.read().error

            assert (error.code, error.reason) == (13, "INTERNAL")
            assert "division" not in error.message
            (identifier,) = re.findall(r"[0-9a-f]{16}", error.message)
            assert any(identifier in record.getMessage() for record in caplog.records)
        stream.send(request("a", sdpa()))
        assert stream.read().WhichOneof("part") == "response"

    assert "division" in caplog.text


def test_server_goes_on_after_a_fault(
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    engine_gives: Callable[[Exception], None],
) -> None:
    with AttentionClient(server.address) as client:
        with monkeypatch.context() as faulty:
            faulty.setattr(Engine, "run", lambda *_: 1 / 0)
            for _ in range(8):  # more faults than engine threads
                with pytest.raises(sdk.InternalServerError):
                    client.attend("sdpa", [[[1.0]]], num_heads=1)

        assert client.attend("sdpa", [[[1.0]]], num_heads=1).output is not None


def test_each_fault_has_an_id_of_its_own(
    server: EmbeddedServer, engine_gives: Callable[[Exception], None]
) -> None:
    engine_gives(RuntimeError(INSIDE))

    with Wire(server.address) as wire:
        ids = {wire.refusal("Attend", sdpa()).metadata for _ in range(5)}

    assert len(ids) == 5
