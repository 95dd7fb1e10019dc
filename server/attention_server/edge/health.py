"""grpc.health.v1 as gRPC knows it, within bounds: whoever connects may ask."""

from __future__ import annotations

from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health

from attention_server.domain.errors import InvalidRequest
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.status import abort, status_of
from attention_server.edge.wire import parse_short

__all__ = ["HEALTH_NAME", "health_service"]

HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# A name of a service takes less. A watched one is held as long as somebody watches.
MOST_BYTES = 1 << 10
# An orchestrator has a few, a client that asks for health one a connection.
MOST_WATCHES = 1000

_Context = aio.ServicerContext[bytes, health_pb2.HealthCheckResponse]


def health_service(
    servicer: health.HealthServicer, freed_memory: FreedMemory
) -> grpc.GenericRpcHandler:
    """Returns the service, which says what the servicer says."""
    handlers = _Handlers(servicer, freed_memory)
    serializer = health_pb2.HealthCheckResponse.SerializeToString
    return grpc.method_handlers_generic_handler(
        HEALTH_NAME,
        {
            "Check": grpc.unary_unary_rpc_method_handler(
                handlers.check, response_serializer=serializer
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                handlers.watch, response_serializer=serializer
            ),
        },
    )


class _Handlers:
    """Takes bytes, so that nothing large is parsed; large names would be held, too."""

    def __init__(self, servicer: health.HealthServicer, freed_memory: FreedMemory) -> None:
        self._servicer: Any = servicer  # typed for calls from threads
        self._freed_memory = freed_memory
        self._watches = 0

    async def check(self, data: bytes, context: _Context) -> health_pb2.HealthCheckResponse:
        """Says how a service is."""
        request = await self._parsed(data, context)
        answer: health_pb2.HealthCheckResponse = await self._servicer.Check(request, context)
        return answer

    async def watch(self, data: bytes, context: _Context) -> None:
        """Says how a service is, now and whenever that changes, until the caller leaves."""
        request = await self._parsed(data, context)
        if self._watches >= MOST_WATCHES:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"at most {MOST_WATCHES} may watch at a time"
            )
        self._watches += 1
        try:
            await self._servicer.Watch(request, context)
        finally:
            self._watches -= 1

    async def _parsed(self, data: bytes, context: Any) -> health_pb2.HealthCheckRequest:
        self._freed_memory.call_over(len(data))  # it is, at once, if it is large
        try:
            return parse_short(health_pb2.HealthCheckRequest, data, MOST_BYTES)
        except InvalidRequest as error:
            status = status_of(error)
        return await abort(context, status)
