"""What a scripted server answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc

from attention_service.v1 import attention_pb2 as pb


def info(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
    """Answers at once."""
    return pb.GetServerInfoResponse(version="1.2.3")


def until(
    done: threading.Event, arrived: threading.Event | None = None
) -> Callable[..., pb.GetServerInfoResponse]:
    """Returns a handler that says that a call arrived, and answers when it is told to."""

    def handler(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        if arrived is not None:
            arrived.set()
        done.wait(20)
        return pb.GetServerInfoResponse()

    return handler
