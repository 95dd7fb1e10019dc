"""A server whose streams answer as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc
import numpy as np

from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb

Serve = Callable[..., str]
Script: TypeAlias = Callable[[pb.AttendStreamRequest, grpc.ServicerContext], Iterator[Any]]

PATIENCE_SECONDS = 20


class ScriptedStream:
    """Hands each message of each stream to the script, and sends what that yields.

    Args:
        serve: Starts a server.
        script: Yields what a message is answered with; may abort the stream.
        limits: Of the server.
    """

    def __init__(self, serve: Serve, script: Script, limits: pb.Limits | None = None) -> None:
        self.streams = 0
        self.unary = 0
        self.messages: list[pb.AttendStreamRequest] = []
        self.cancelled: list[str] = []
        self.arrived = threading.Event()
        self.script = script
        self._limits = limits
        self.address = serve(
            AttendStream=self._stream, Attend=self._attend, GetServerInfo=self._info
        )

    def _stream(
        self, messages: Iterator[pb.AttendStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.AttendStreamResponse]:
        self.streams += 1
        for message in messages:
            if message.HasField("cancel"):
                self.cancelled.append(message.request_id)
                continue
            self.messages.append(message)
            self.arrived.set()
            yield from self.script(message, context)

    def _attend(self, request: pb.AttendRequest, _: grpc.ServicerContext) -> pb.AttendResponse:
        self.unary += 1
        return pb.AttendResponse(model="unary", request_id=request.request_id)

    def _info(self, _: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(limits=self._limits)


def answer(message: pb.AttendStreamRequest, number: float = 0.0) -> pb.AttendStreamResponse:
    """Returns an answer that holds one number."""
    output = encode(np.full((1, 1, 1), number, np.float32))
    response = pb.AttendResponse(model=message.request.model, output=output)
    return pb.AttendStreamResponse(request_id=message.request_id, response=response)


def announced(
    message: pb.AttendStreamRequest, shape: tuple[int, ...], data: bytes = b""
) -> pb.AttendStreamResponse:
    """Returns the beginning of an answer in chunks."""
    output = pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=shape, data=data)
    response = pb.AttendResponse(model=message.request.model, output=output)
    return pb.AttendStreamResponse(request_id=message.request_id, response=response, chunked=True)


def chunk(message: pb.AttendStreamRequest, field: str, data: bytes) -> pb.AttendStreamResponse:
    """Returns more bytes of one of its tensors."""
    return pb.AttendStreamResponse(
        request_id=message.request_id, chunk=pb.TensorChunk(field=field, data=data)
    )


def error(
    message: pb.AttendStreamRequest, code: grpc.StatusCode, reason: str = "", **rest: Any
) -> pb.AttendStreamResponse:
    """Returns an error that tells what was wrong with one request."""
    wrong = pb.Error(code=code.value[0], message="what was wrong", reason=reason, **rest)
    return pb.AttendStreamResponse(request_id=message.request_id, error=wrong)


def echo(message: pb.AttendStreamRequest, _: grpc.ServicerContext) -> Iterator[Any]:
    """Answers at once."""
    yield answer(message)


def silence(message: pb.AttendStreamRequest, _: grpc.ServicerContext) -> Iterator[Any]:
    """Answers nothing."""
    return iter(())
