"""AttentionService as gRPC knows it: every method, and an answer for every error."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from grpc import aio

from attention_server.domain.errors import Abandoned, DeadlinePassed, RequestError
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.status import Status, abort, internal_error, status_of
from attention_server.edge.traffic import Ending, Traffic
from attention_service.v1 import attention_pb2 as pb

__all__ = ["SERVICE_NAME", "service"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AttentionService"].full_name

_log = logging.getLogger(__name__)

_ENDINGS = {DeadlinePassed: Ending.EXPIRED, Abandoned: Ending.CANCELLED}
"""Of calls that an error ended; any other refuses."""

_Context = aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, _Context], Awaitable[bytes]]


def service(
    attend: AttendHandlers,
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
        _answered(attend.attend_stream, traffic, freed_memory)
    )
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)


def _answered(
    handler: Callable[..., Awaitable[Any]], traffic: Traffic, freed_memory: FreedMemory
) -> Callable[..., Awaitable[Any]]:
    """Returns a handler that ends in an answer or a status, whatever is raised, and is counted."""

    async def call(request: Any, context: _Context) -> Any:
        ending = Ending.FAILED
        if isinstance(request, bytes):  # else a stream
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
        except RequestError as error:
            ending = _ENDINGS.get(type(error), Ending.REFUSED)
            status = status_of(error)
        except Exception:  # noqa: BLE001 - whatever it is, the log has it and the caller an id
            status = _logged_fault()
        return await abort(context, status)

    return call


def _over(freed_memory: FreedMemory, size: int, context: _Context) -> None:
    freed_memory.call_over(size)


def _logged_fault() -> Status:
    """Logs the exception under an id of its own, and returns the status that names the id."""
    identifier = uuid.uuid4().hex[:16]
    _log.exception("internal error %s", identifier)
    return internal_error(identifier)
