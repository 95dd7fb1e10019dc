"""grpc.health.v1 as gRPC knows it, within bounds: whoever connects may ask.

The servicer of grpcio-health-checking tells watchers one after the other, so that one who does not
read keeps news from the rest and the server from draining; and where one leaves, the others of the
same service hear nothing more.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health_pb2

from attention_server.domain.errors import InvalidRequest
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.status import abort, status_of
from attention_server.edge.wire import parse_short

__all__ = ["HEALTH_NAME", "Health"]

HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# A name of a service takes less. A watched one is held as long as somebody watches.
MOST_BYTES = 1 << 10
# An orchestrator has a few, a client that asks for health one a connection.
MOST_WATCHES = 1000

_Response = health_pb2.HealthCheckResponse
_Context = aio.ServicerContext[bytes, Message]


class Health:
    """How each service is, for those who ask. Belongs to one event loop."""

    def __init__(self, freed_memory: FreedMemory) -> None:
        self._freed_memory = freed_memory
        self._serving: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._watches = 0

    def set(self, *names: str, serving: bool) -> None:
        """Says of services, "" for the whole server, whether they serve."""
        self._serving.update(dict.fromkeys(names, serving))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def stop(self) -> None:
        """Says of all services that they do not serve any more."""
        self.set(*self._serving, serving=False)

    def service(self) -> grpc.GenericRpcHandler:
        """Returns the service. It takes bytes, so that nothing large is parsed."""
        serializer = _Response.SerializeToString
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check, response_serializer=serializer
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, response_serializer=serializer
            ),
        }
        return grpc.method_handlers_generic_handler(HEALTH_NAME, handlers)

    async def _check(self, data: bytes, context: _Context) -> Message:
        """Says how a service is."""
        name = await self._name(data, context)
        if name not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of this name")
        return self._response(name)

    async def _watch(self, data: bytes, context: _Context) -> None:
        """Says how a service is, now and whenever that changes, until the caller leaves."""
        name = await self._name(data, context)
        if self._watches >= MOST_WATCHES:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"at most {MOST_WATCHES} may watch at a time"
            )
        self._watches += 1
        try:
            said = None
            while True:
                changed, response = self._changed, self._response(name)
                if response != said:
                    await context.write(response)
                    said = response
                await changed.wait()
        finally:
            self._watches -= 1

    def _response(self, name: str) -> Message:
        if name not in self._serving:
            return _Response(status=_Response.SERVICE_UNKNOWN)
        serving = self._serving[name]
        return _Response(status=_Response.SERVING if serving else _Response.NOT_SERVING)

    async def _name(self, data: bytes, context: Any) -> str:
        self._freed_memory.call_over(len(data))  # it is, at once, if it is large
        try:
            return parse_short(health_pb2.HealthCheckRequest, data, MOST_BYTES).service
        except InvalidRequest as error:
            status = status_of(error)
        return await abort(context, status)
