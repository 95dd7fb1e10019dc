"""What is wrong with a request is said exactly, over the wire, and costs nobody else anything."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import grpc
import pytest

from attention_server import EmbeddedServer
from attention_service.reasons import DOMAIN
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed import kinds, limits
from tests.contract.malformed.case import Malformed
from tests.contract.malformed.table import ROWS
from tests.made_models import write_models
from tests.messages import floats, layer, sdpa
from tests.wire import Refusal, Wire

# Paths, what Python calls its classes and modules, names of libraries.
_INSIDES = re.compile(
    r"\w/\w|\.py\b|Error\b|Exception|Traceback|<class|object at|"
    r"onnx|numpy|protobuf|grpc|pydantic|asyncio|\bupb\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


@pytest.fixture(scope="module")
def small_wire() -> Iterator[Wire]:
    """A connection to a server of small limits."""
    with EmbeddedServer(demo=False, **limits.SETTINGS) as server, Wire(server.address) as wire:
        yield wire


@pytest.fixture(scope="module")
def made_wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A connection to a server of models that use positions or come whole."""
    models = tmp_path_factory.mktemp("made")
    write_models(models)
    with EmbeddedServer(models, demo=False) as server, Wire(server.address) as wire:
        yield wire


def check(refusal: Refusal, row: Malformed) -> None:
    assert (refusal.code, refusal.reason, refusal.fields) == (row.code, row.reason, row.fields)
    assert refusal.domain == DOMAIN


def check_words(refusal: Refusal) -> None:
    """Short, in one line, and nothing of the insides."""
    for text in (refusal.message, *refusal.descriptions):
        assert 0 < len(text.encode()) < 512
        assert not _INSIDES.search(text)
        assert text.isprintable()
    assert len(refusal.details) < 4096


def tensors_of(wire: Wire, request: pb.AttendRequest) -> bytes:
    """Returns the answer, but for how long it took."""
    response = pb.AttendResponse.FromString(wire.answer("Attend", request))
    response.ClearField("execution")
    return response.SerializeToString(deterministic=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_malformed_request_is_refused_with_status_reason_fields_and_few_words(
    wire: Wire, row: Malformed
) -> None:
    refusal = wire.refusal(row.rpc, row.request)

    check(refusal, row)
    check_words(refusal)


@pytest.mark.parametrize("row", kinds.ROWS, ids=lambda row: row.what)
def test_what_a_kind_of_model_cannot_do_is_refused_with_its_reason(
    made_wire: Wire, row: Malformed
) -> None:
    refusal = made_wire.refusal(row.rpc, row.request)

    check(refusal, row)
    check_words(refusal)


@pytest.mark.parametrize("row", limits.ROWS, ids=lambda row: row.what)
def test_request_over_a_limit_is_refused_with_the_limits_reason(
    small_wire: Wire, row: Malformed
) -> None:
    refusal = small_wire.refusal(row.rpc, row.request)

    check(refusal, row)
    check_words(refusal)


def test_good_requests_are_answered_bit_for_bit_alike_after_each_malformed_one(
    wire: Wire,
) -> None:
    goods = (
        sdpa(outputs=pb.OutputSpec(weights=pb.WeightsSpec(), log_sum_exp=True)),
        layer(outputs=pb.OutputSpec(weights=pb.WeightsSpec(), projections=True)),
    )
    before = [tensors_of(wire, good) for good in goods]
    for row in ROWS:
        wire.refusal(row.rpc, row.request)
        assert [tensors_of(wire, good) for good in goods] == before, row.what


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
        b"\0",
    ],
    ids=["HTTP/1.1", "broken HTTP/2", "a byte"],
)
def test_bytes_that_are_no_grpc_cost_nobody_else_anything(
    address: str, wire: Wire, data: bytes
) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(data)
        assert wire.answer("Attend", sdpa())


def test_call_without_a_deadline_is_answered(wire: Wire) -> None:
    assert wire.begin("Attend", sdpa(), timeout=None).result()


def test_method_that_the_contract_does_not_have_is_unimplemented(wire: Wire) -> None:
    assert wire.refusal("Detach", b"").code is grpc.StatusCode.UNIMPLEMENTED


def test_message_over_the_transports_limit_is_refused_before_it_is_read(small_wire: Wire) -> None:
    large = sdpa(query=floats(1, 16, 1024), key=None, value=None)

    refusal = small_wire.refusal("Attend", large)

    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.details == b""


def test_answer_that_only_fits_in_halves_is_refused_in_floats(small_wire: Wire) -> None:
    def of_type(data_type: pb.DataType.ValueType) -> pb.AttendRequest:
        return sdpa(
            query=floats(1, 16, 4),
            key=floats(1, 1, 4),
            value=floats(1, 1, 1024),
            outputs=pb.OutputSpec(data_type=data_type),
        )

    refusal = small_wire.refusal("Attend", of_type(pb.DATA_TYPE_FLOAT32))
    answer = small_wire.answer("Attend", of_type(pb.DATA_TYPE_FLOAT16))

    assert refusal.reason == "ANSWER_LIMIT"
    assert list(pb.AttendResponse.FromString(answer).output.shape) == [1, 16, 1024]


@pytest.mark.parametrize(
    "request_",
    [
        sdpa(query=floats(4, 1, 4), key=None, value=None),
        sdpa(query=floats(1, 16, 4), key=None, value=None),
        sdpa(query=floats(2, 16, 4), key=None, value=None),
        sdpa(
            query=floats(1, 1, 4),
            key=None,
            value=floats(1, 1, 2 * (2**16 - 4096) // 8),
        ),
    ],
    ids=["batch", "length", "work", "answer"],
)
def test_request_at_a_limit_is_answered(small_wire: Wire, request_: pb.AttendRequest) -> None:
    assert small_wire.answer("Attend", request_)
