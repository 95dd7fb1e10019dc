"""AttentionService as gRPC knows it: every method, and an answer for every error."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from attention_server.domain.errors import RequestError
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.status import Status, abort, internal_error, status_of
from attention_server.edge.traffic import Traffic
from attention_service.v1 import attention_pb2 as pb

__all__ = ["SERVICE_NAME", "service"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AttentionService"].full_name

_log = logging.getLogger(__name__)

_Context = aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, _Context], Awaitable[bytes]]


def service(
    attend: AttendHandlers, describe: DescribeHandlers, traffic: Traffic
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
        name: grpc.unary_unary_rpc_method_handler(_answered(handler, traffic))
        for name, handler in unary.items()
    }
    handlers["AttendStream"] = grpc.stream_stream_rpc_method_handler(
        _answered(attend.attend_stream, traffic)
    )
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)


def _answered(
    handler: Callable[..., Awaitable[Any]], traffic: Traffic
) -> Callable[..., Awaitable[Any]]:
    """Returns a handler that ends in an answer or a status, whatever is raised."""

    async def call(request: Any, context: _Context) -> Any:
        try:
            traffic.begin()
            # When the call is over, and not when its answer is made: that may take a while to send.
            context.add_done_callback(lambda _: traffic.end())  # type: ignore[arg-type]  # any callable
            return await handler(request, context)
        except RequestError as error:
            status = status_of(error)
        except Exception:  # noqa: BLE001 - whatever it is, the log has it and the caller an id
            status = _logged_fault()
        return await abort(context, status)

    return call


def _logged_fault() -> Status:
    """Logs the exception under an id of its own, and returns the status that names the id."""
    identifier = uuid.uuid4().hex[:16]
    _log.exception("internal error %s", identifier)
    return internal_error(identifier)
