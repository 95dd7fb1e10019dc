from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from attention_client import (
    AttentionError,
    InternalServerError,
    RequestTooLargeError,
    RetryPolicy,
    ServerBusyError,
    ServerUnavailableError,
)
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUICK = RetryPolicy(initial_backoff_seconds=0.01)


class Failing:
    """Answers after some failures."""

    def __init__(
        self, times: int, code: grpc.StatusCode, retry_after: Duration | None = None
    ) -> None:
        self.attempts = 0
        self._times = times
        self._code = code
        self._status = status_pb2.Status(code=code.value[0])
        if retry_after is not None:
            self._status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=retry_after))

    def __call__(self, _: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        self.attempts += 1
        if self.attempts <= self._times:
            details = self._status.SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(self._code, "not now")
        return pb.GetServerInfoResponse(version="1.2.3")


def test_an_unavailable_server_is_asked_again(serve: Serve, ask: Ask) -> None:
    server = Failing(3, grpc.StatusCode.UNAVAILABLE)

    answer = ask(serve(GetServerInfo=server), lambda c: c.server_info(), retry=QUICK)

    assert answer.version == "1.2.3"
    assert server.attempts == 4


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [(QUICK, 5), (RetryPolicy(max_attempts=2), 2), (None, 1)],
    ids=["default", "two", "off"],
)
def test_it_is_not_asked_more_often_than_allowed(
    serve: Serve, ask: Ask, retry: RetryPolicy | None, attempts: int
) -> None:
    server = Failing(100, grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(ServerUnavailableError):
        ask(serve(GetServerInfo=server), lambda c: c.server_info(), retry=retry)

    assert server.attempts == attempts


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INTERNAL, InternalServerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RequestTooLargeError),
    ],
)
def test_nothing_else_is_tried_again(
    serve: Serve, ask: Ask, code: grpc.StatusCode, kind: type[AttentionError]
) -> None:
    server = Failing(100, code)

    with pytest.raises(kind):
        ask(serve(GetServerInfo=server), lambda c: c.server_info(), retry=QUICK)

    assert server.attempts == 1


def test_the_server_says_how_long_to_wait(serve: Serve, ask: Ask) -> None:
    server = Failing(1, grpc.StatusCode.UNAVAILABLE, Duration(nanos=300_000_000))
    started = time.monotonic()

    ask(serve(GetServerInfo=server), lambda c: c.server_info(), retry=QUICK)

    assert time.monotonic() - started >= 0.3


def test_a_wait_beyond_the_timeout_ends_at_once_in_what_the_server_said(
    serve: Serve, ask: Ask
) -> None:
    server = Failing(1, grpc.StatusCode.UNAVAILABLE, Duration(seconds=60))
    started = time.monotonic()

    with pytest.raises(ServerUnavailableError) as caught:
        ask(serve(GetServerInfo=server), lambda c: c.server_info(timeout=5), retry=QUICK)

    assert caught.value.retry_after == 60
    assert time.monotonic() - started < 4


def test_a_server_that_starts_meanwhile_is_found(serve: Serve, ask: Ask) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = Failing(0, grpc.StatusCode.UNAVAILABLE)
    starting = threading.Timer(0.4, lambda: serve(address, GetServerInfo=server))
    starting.start()

    answer = ask(address, lambda c: c.server_info(), retry=RetryPolicy(max_attempts=10))

    starting.join()
    assert answer.version == "1.2.3"


@given(
    attempt=st.integers(1, 100),
    retry_after=st.none() | st.floats(0, 1e6),
    initial=st.floats(0, 10),
    longest=st.floats(10, 100),
    multiplier=st.floats(1, 1e3),
)
def test_a_pause_is_what_the_server_asks_and_half_to_all_of_the_backoff(
    attempt: int, retry_after: float | None, initial: float, longest: float, multiplier: float
) -> None:
    policy = RetryPolicy(20_000, initial, longest, multiplier)

    pause = policy.pause_after(ServerBusyError("", retry_after=retry_after), attempt)

    backoff = min(initial * multiplier ** (attempt - 1), longest)
    asked = retry_after or 0.0
    assert pause is not None
    assert asked + 0.5 * backoff - 1e-6 <= pause <= asked + backoff + 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        {"max_attempts": 0},
        {"initial_backoff_seconds": -1},
        {"initial_backoff_seconds": 6},
        {"initial_backoff_seconds": float("nan")},
        {"multiplier": 0.5},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**settings)
