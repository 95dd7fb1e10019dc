"""Calls the service as any language would: bytes in, bytes or a status out, over a socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

SERVICE = "attention_service.v1.AttentionService"

_PATIENCE_SECONDS = 60
_HEALTH = "grpc.health.v1.Health"

_AnyMethod = Any  # bytes in, bytes out; types-grpcio cannot tell without serializers


@dataclass(frozen=True)
class Refusal:
    """The status that ended a call in place of an answer."""

    code: grpc.StatusCode
    message: str
    details: bytes
    """google.rpc.Status as it travels; empty where gRPC itself answered."""
    reason: str = ""
    domain: str = ""
    fields: tuple[str, ...] = ()
    """Paths of the fields at fault."""
    descriptions: tuple[str, ...] = ()
    """What is wrong with each."""
    metadata: tuple[tuple[str, str], ...] = ()
    retry_seconds: float | None = None

    @classmethod
    def of(cls, error: grpc.RpcError) -> Refusal:
        call = cast("grpc.Call", error)
        trailing = dict(call.trailing_metadata() or ())
        details = trailing.get("grpc-status-details-bin", b"")
        assert isinstance(details, bytes)
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        status = status_pb2.Status.FromString(details)
        for packed in status.details:
            assert any(packed.Unpack(detail) for detail in (info, bad_request, retry))
        if details:
            assert (status.code, status.message) == (call.code().value[0], call.details())
        return cls(
            code=call.code(),
            message=call.details() or "",
            details=details,
            reason=info.reason,
            domain=info.domain,
            fields=tuple(violation.field for violation in bad_request.field_violations),
            descriptions=tuple(v.description for v in bad_request.field_violations),
            metadata=tuple(sorted(info.metadata.items())),
            retry_seconds=(
                retry.retry_delay.ToTimedelta().total_seconds()
                if retry.HasField("retry_delay")
                else None
            ),
        )


class Wire:
    """A connection to one server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
            ],
        )
        self._calls: list[Any] = []  # gRPC cancels a call that nobody holds

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.channel.close()

    def begin(
        self, rpc: str, message: Message | bytes, *, timeout: float | None = _PATIENCE_SECONDS
    ) -> Any:
        """Returns a call under way: a grpc.Future of bytes."""
        method: _AnyMethod = self.channel.unary_unary(f"/{SERVICE}/{rpc}")
        self._calls.append(method.future(_bytes(message), timeout=timeout))
        return self._calls[-1]

    def answer(self, rpc: str, message: Message | bytes) -> bytes:
        """Returns the message that answers."""
        answer: bytes = self.begin(rpc, message).result()
        return answer

    def refusal(self, rpc: str, message: Message | bytes) -> Refusal:
        """Returns the status that ended the call."""
        return refusal_of(self.begin(rpc, message))

    def stream_refusal(self, rpc: str, messages: Iterable[Message | bytes]) -> Refusal:
        """Returns the status that ended a stream before its first answer."""
        stream: _AnyMethod = self.channel.stream_stream(f"/{SERVICE}/{rpc}")
        call = stream(map(_bytes, messages), timeout=_PATIENCE_SECONDS)
        try:
            answer = next(call)
        except grpc.RpcError as error:
            return Refusal.of(error)
        raise AssertionError(f"{rpc} answered with {len(answer)} bytes")

    def health(self, service: str = "") -> int:
        """Returns what grpc.health.v1 says of a service, or of the whole server."""
        check: _AnyMethod = self.channel.unary_unary(f"/{_HEALTH}/Check")
        request = health_pb2.HealthCheckRequest(service=service)
        answer = check(request.SerializeToString(), timeout=_PATIENCE_SECONDS)
        return health_pb2.HealthCheckResponse.FromString(answer).status

    def watch_health(self, service: str = "") -> Iterator[int]:
        """Yields what grpc.health.v1 says of a service, whenever that changes."""
        watch: _AnyMethod = self.channel.unary_stream(f"/{_HEALTH}/Watch")
        request = health_pb2.HealthCheckRequest(service=service)
        for answer in watch(request.SerializeToString()):
            yield health_pb2.HealthCheckResponse.FromString(answer).status


def refusal_of(call: Any) -> Refusal:
    """Returns the status that ended a call which was begun."""
    try:
        answer = call.result()
    except grpc.RpcError as error:
        return Refusal.of(error)
    raise AssertionError(f"answered with {len(answer)} bytes")


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
