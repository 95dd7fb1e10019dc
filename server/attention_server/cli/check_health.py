"""Whether a server on this machine serves: what a container asks again and again."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from attention_server.cli.failure import CommandFailed
from attention_server.cli.sources import Given
from attention_server.listening import reachable

__all__ = ["check_health"]

_DEADLINE_SECONDS = 5.0
# A proxy's localhost is another machine.
_OPTIONS = (("grpc.enable_http_proxy", 0),)


def check_health(given: Given) -> None:
    """Returns once the server that listens there says SERVING.

    Raises:
        CommandFailed: It says something else, or nothing within 5 seconds, or on no port.
    """
    address = reachable(given.settings.listen)
    if address.endswith(":0"):
        raise CommandFailed("listen: must have the server's port, 0 stands for any")
    with grpc.insecure_channel(address, _OPTIONS) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_DEADLINE_SECONDS)
        except grpc.RpcError as error:
            raise CommandFailed(_reason(error.code(), address)) from None
    if answer.status != answer.SERVING:
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise CommandFailed(f"{address} says {said}, not SERVING")


def _reason(code: grpc.StatusCode, address: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return f"no server answers on {address}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not answer within {_DEADLINE_SECONDS:g} s"
    return f"{address} is not this server: it answered {code.name}"
