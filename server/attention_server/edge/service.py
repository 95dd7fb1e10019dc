"""AttentionService as gRPC knows it: every method, and an answer for every error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from grpc import aio

from attention_server.domain.errors import ShuttingDown
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.status import abort, status_of
from attention_server.edge.stream import StreamHandlers
from attention_server.edge.traffic import Ending, Traffic
from attention_service.v1 import attention_pb2 as pb

__all__ = ["SERVICE_NAME", "service"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AttentionService"].full_name

_Context = aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, _Context], Awaitable[bytes]]
_Stream = Callable[[object, _Context], Awaitable[None]]


def service(
    attend: AttendHandlers,
    stream: StreamHandlers,
    describe: DescribeHandlers,
    traffic: Traffic,
    freed_memory: FreedMemory,
) -> grpc.GenericRpcHandler:
    """Returns the service.

    Handlers take and give bytes and parse themselves: generated servicers would answer bytes that
    are no message with INTERNAL.
    """
    unary: dict[str, _Unary] = {
        "Attend": attend.attend,
        "AnalyzeHeads": attend.analyze_heads,
        "ListModels": describe.list_models,
        "GetModel": describe.get_model,
        "GetServerInfo": describe.get_server_info,
    }
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(_answered(handler, traffic, freed_memory))
        for name, handler in unary.items()
    }
    handlers["AttendStream"] = grpc.stream_stream_rpc_method_handler(
        _streamed(stream.attend_stream, traffic)
    )
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)


def _answered(handler: _Unary, traffic: Traffic, freed_memory: FreedMemory) -> _Unary:
    """Returns a handler that ends in an answer or a status, whatever is raised, and is counted."""

    async def call(request: bytes, context: _Context) -> bytes:
        ending = Ending.FAILED
        over = partial(_over, freed_memory, len(request))
        context.add_done_callback(over)  # type: ignore[arg-type]  # any callable

        def end(_: object) -> None:
            traffic.end(ending)

        try:
            traffic.begin()
            # When the call is over, and not when its answer is made: that may take a while to send.
            context.add_done_callback(end)  # type: ignore[arg-type]  # any callable
            answer = await handler(request, context)
            ending = Ending.ANSWERED
            return answer
        except asyncio.CancelledError:
            # A caller whose own clock is ahead leaves at its deadline before it is known here: on
            # the wire that is a cancellation like any other.
            out_of_time = context.time_remaining() == 0
            ending = Ending.EXPIRED if out_of_time else Ending.CANCELLED
            raise
        except Exception as error:  # noqa: BLE001 - the log has it, and the caller an id
            ending = Ending.of(error)
            status = status_of(error)
        return await abort(context, status)

    return call


def _streamed(handler: _Stream, traffic: Traffic) -> _Stream:
    """Returns a handler that ends in a status, whatever is raised, and counts what it carries."""

    async def call(requests: object, context: _Context) -> None:
        try:
            await handler(requests, context)
            return
        except ShuttingDown as error:  # at the door it is counted there, later it was no call
            status = status_of(error)
        except Exception as error:  # noqa: BLE001 - the log has it, and the caller an id
            traffic.refuse(Ending.of(error))
            status = status_of(error)
        await abort(context, status)

    return call


def _over(freed_memory: FreedMemory, size: int, context: _Context) -> None:
    freed_memory.call_over(size)
