"""The calls that ask what there is: models and server."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from attention_client import _numbers
from attention_client._call import Call, Server
from attention_client._models import Model, ServerInfo
from attention_service.v1 import attention_pb2 as pb


@dataclass(frozen=True, eq=False)
class ListModelsCall(Call[list[Model]]):
    """All models of the server, by name, each version on its own, newest first.

    Args:
        timeout: Seconds for all of it; the client's where absent.

    Raises:
        AttentionError: See ``attention_client.errors``.
    """

    _: KW_ONLY
    timeout: float | None = None

    async def exchange(self, server: Server) -> list[Model]:
        """Returns the models of all pages."""
        models: list[Model] = []
        request = pb.ListModelsRequest()
        while True:
            page: pb.ListModelsResponse = await server.ask("ListModels", request)
            models += map(Model.from_message, page.models)
            if not page.next_page_token:
                return models
            request = pb.ListModelsRequest(page_token=page.next_page_token)


@dataclass(frozen=True, eq=False)
class GetModelCall(Call[Model]):
    """One model's sizes, defaults, outputs and source.

    Args:
        model: Name.
        version: Version; the newest where absent.
        timeout: Seconds for all of it; the client's where absent.

    Raises:
        ModelNotFoundError: No such model, or no such version.
        AttentionError: See ``attention_client.errors``.
    """

    model: str
    version: str | int | None = None
    _: KW_ONLY
    timeout: float | None = None

    async def exchange(self, server: Server) -> Model:
        """Returns the model."""
        request = pb.GetModelRequest(
            model=_numbers.text("model", self.model),
            model_version=_numbers.version("version", self.version),
        )
        response: pb.GetModelResponse = await server.ask("GetModel", request)
        return Model.from_message(response.model)


@dataclass(frozen=True, eq=False)
class ServerInfoCall(Call[ServerInfo]):
    """The server's version, execution providers and limits.

    Args:
        timeout: Seconds for all of it; the client's where absent.

    Raises:
        AttentionError: See ``attention_client.errors``.
    """

    _: KW_ONLY
    timeout: float | None = None

    async def exchange(self, server: Server) -> ServerInfo:
        """Returns what the server says of itself."""
        response: pb.GetServerInfoResponse = await server.ask(
            "GetServerInfo", pb.GetServerInfoRequest()
        )
        return ServerInfo.from_message(response)
