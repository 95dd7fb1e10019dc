"""The server put together: models, engine, scheduler, gRPC; started, drained, stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from attention_server.domain.catalog import Catalog
from attention_server.domain.model import SDPA, Model
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.service import SERVICE_NAME, service
from attention_server.edge.traffic import Traffic
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import load_runtime
from attention_server.models.repository import (
    BUILT_IN,
    FoundModel,
    RefusedModel,
    find_model_directories,
    find_models,
)
from attention_server.scheduling.scheduler import Scheduler
from attention_server.settings import Settings, SettingsError

__all__ = ["App"]

_log = logging.getLogger(__name__)

# Frames larger than HTTP/2's default of 16 KiB and a look-ahead for whole messages: a quarter off
# a call of 400 kB.
_MAX_FRAME_BYTES = (1 << 24) - 1
_LOOKAHEAD_BYTES = 1 << 24
_MIN_PING_INTERVAL_MS = 10_000
_FAREWELL_SECONDS = 1.0


class App:
    """One server, from its settings to its end. Its coroutines belong to one event loop.

    Raises:
        EngineUnavailable: ONNX Runtime or a required provider is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        runtime = load_runtime(
            settings.providers.split(","),
            require=settings.require_provider,
            intra_op_threads=settings.intra_op_threads,
        )
        for note in runtime.notes:
            _log.warning("%s; serving on %s", note, runtime.provider)
        self._engine = Engine(runtime)
        self._catalog = Catalog([SDPA, *self._load_models()])
        self._scheduler = Scheduler(
            self._engine,
            threads=settings.engine_threads,
            max_waiting_requests=settings.max_waiting_requests,
            max_waiting_bytes=settings.max_waiting_bytes,
        )
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="edge")
        self._traffic = Traffic()
        self._health = health.HealthServicer()
        self._server: aio.Server | None = None

    async def start(self) -> str:
        """Opens the port, says SERVING, and returns the address that clients use.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        settings = self._settings
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),  # answers are bounded at admission
                ("grpc.http2.max_frame_size", _MAX_FRAME_BYTES),
                ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
                ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a twin
            ]
        )
        server.add_generic_rpc_handlers((self._service(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if settings.reflection:
            names = (
                SERVICE_NAME,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            )
            reflection.enable_server_reflection(names, server)
        host = settings.listen.rpartition(":")[0]
        try:
            port = server.add_insecure_port(settings.listen)
        except RuntimeError:
            raise SettingsError(
                f"listen: {settings.listen} cannot be listened on; is the port taken?"
            ) from None
        await server.start()
        self._server = server
        for name in ("", SERVICE_NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{port}"

    def summary(self, address: str) -> str:
        """Returns one line: what is served, where, on what."""
        names = ", ".join(dict.fromkeys(model.key.name for model in self._catalog))
        return f"serving {names} on {address} ({self._engine.providers[0]})"

    async def drain(self) -> None:
        """Says NOT_SERVING, lets what is in flight finish within the grace period, and stops."""
        await self._health.enter_graceful_shutdown()
        in_time = await self._traffic.drain(self._settings.drain_seconds)
        if not in_time:
            _log.warning("gave up what was in flight after %g s", self._settings.drain_seconds)
        if self._server is not None:
            # Health may be watched without end: that nobody waits for.
            await self._server.stop(_FAREWELL_SECONDS if in_time else None)
        await asyncio.to_thread(self._scheduler.close)
        self._executor.shutdown()

    def _service(self) -> grpc.GenericRpcHandler:
        limits = self._settings.limits
        return service(
            AttendHandlers(self._catalog, limits, self._scheduler, self._executor),
            DescribeHandlers(
                self._catalog,
                limits,
                version=metadata.version("attention-service"),
                providers=self._engine.providers,
            ),
            self._traffic,
        )

    def _load_models(self) -> Iterator[Model]:
        own = self._settings.models
        roots = [*([BUILT_IN] if self._settings.demo else []), *([own] if own else [])]
        if own and not any(find_model_directories(own)):
            _log.warning("no model in %s: it must hold <name>/<version>/manifest.json", own)
        for found in find_models(roots):
            if isinstance(found, RefusedModel):
                _log.error("model %s is not served: %s", found.name, found.reason)
                continue
            if self._load(found):
                yield found.model

    def _load(self, found: FoundModel) -> bool:
        name = "/".join(found.model.key)
        started = time.monotonic()
        try:
            self._engine.load(found.model, found.files)
        except ModelUnusable as error:
            _log.error("model %s is not served: %s", name, error)
            return False
        _log.debug("model %s loaded in %.0f ms", name, (time.monotonic() - started) * 1e3)
        return True
