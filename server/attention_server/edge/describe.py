"""The RPCs that tell what this server is and holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from grpc import aio

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest
from attention_server.edge.encode import encode_model
from attention_server.edge.wire import parse_short
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["DescribeHandlers"]

_DEFAULT_PAGE_SIZE = 100
_LARGEST_PAGE_SIZE = 1000
_MOST_BYTES = 1 << 16  # of a request: a name, a version and a number need far less


class DescribeHandlers:
    """ListModels, GetModel and GetServerInfo, which tells all that is given beside the catalog."""

    def __init__(
        self,
        catalog: Catalog,
        limits: Limits,
        *,
        waiting_requests: int,
        waiting_bytes: int,
        drain_seconds: float,
        version: str,
        providers: Sequence[str],
    ) -> None:
        self._catalog = catalog
        self._models = [encode_model(model) for model in catalog]
        self._tokens = {_page_token(model): i for i, model in enumerate(self._models)}
        self._info = pb.GetServerInfoResponse(
            version=version,
            providers=providers,
            limits=pb.Limits(
                message_bytes=limits.message_bytes,
                batch=limits.batch,
                length=limits.length,
                work=limits.work,
                stream_bytes=limits.stream_bytes,
                waiting_requests=waiting_requests,
                waiting_bytes=waiting_bytes,
            ),
        )
        self._info.limits.drain.FromTimedelta(timedelta(seconds=drain_seconds))

    async def list_models(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Lists the models, page by page."""
        message = parse_short(pb.ListModelsRequest, data, _MOST_BYTES)
        if message.page_size < 0:
            raise InvalidRequest.of(Reason.OUT_OF_RANGE, "page_size", "must be 0 or more")
        first = self._tokens.get(message.page_token) if message.page_token else 0
        if first is None:
            raise InvalidRequest.of(
                Reason.INVALID_NAME, "page_token", "must be the next_page_token of the page before"
            )
        size = min(message.page_size or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)
        page, rest = self._models[first : first + size], self._models[first + size :]
        return pb.ListModelsResponse(
            models=page, next_page_token=_page_token(rest[0]) if rest else ""
        ).SerializeToString()

    async def get_model(self, data: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Gets one model's description."""
        message = parse_short(pb.GetModelRequest, data, _MOST_BYTES)
        model = self._catalog.find(message.model, message.model_version)
        return pb.GetModelResponse(model=encode_model(model)).SerializeToString()

    async def get_server_info(
        self, data: bytes, context: aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        """Gets the server's version, execution providers and limits."""
        parse_short(pb.GetServerInfoRequest, data, _MOST_BYTES)
        return self._info.SerializeToString()


def _page_token(first: pb.Model) -> str:
    return f"{first.name}/{first.version}"
