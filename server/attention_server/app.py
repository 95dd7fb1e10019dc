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
from grpc_reflection.v1alpha import reflection

from attention_server.domain.catalog import Catalog
from attention_server.domain.model import SDPA, Model
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.decoder import Decoder, StreamDecoder
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.freed_memory import FreedMemory
from attention_server.edge.health import HEALTH_NAME, Health
from attention_server.edge.means import Means
from attention_server.edge.service import SERVICE_NAME, service
from attention_server.edge.stream import StreamHandlers
from attention_server.edge.traffic import Traffic, TrafficCounts
from attention_server.edge.transport import channel_options
from attention_server.engine.engine import Engine, ModelUnusable
from attention_server.engine.providers import cores, load_runtime
from attention_server.listening import check_listenable
from attention_server.models.repository import (
    BUILT_IN,
    FoundModel,
    RefusedModel,
    find_model_directories,
    find_models,
)
from attention_server.scheduling.scheduler import Scheduler
from attention_server.settings import Settings, SettingsError
from attention_server.trial import Trial

__all__ = ["App"]

_log = logging.getLogger(__name__)

_FAREWELL_SECONDS = 1.0
_FEW_CORES = 2  # one is taken by Python, the other by whoever asks, or by what is not brief


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
            batching=settings.batching,
            max_waiting_requests=settings.max_waiting_requests,
            max_waiting_bytes=settings.max_waiting_bytes,
            at_once=cores() <= _FEW_CORES,
        )
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="edge")
        self._freed_memory = FreedMemory(self._executor)
        self._traffic = Traffic()
        self._health = Health(self._freed_memory)
        self._server: aio.Server | None = None

    async def start(self) -> str:
        """Opens the port, says SERVING, and returns where it listens; the port is never 0.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        # In a thread: a name may be slow to find.
        await asyncio.to_thread(check_listenable, self._settings.listen)
        settings = self._settings
        server = aio.server(options=channel_options(settings.max_message_bytes))
        server.add_generic_rpc_handlers((self._service(), self._health.service()))
        if settings.reflection:
            names = (SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        host = settings.listen.rpartition(":")[0]
        try:
            port = server.add_insecure_port(settings.listen)
        except RuntimeError:  # somebody was faster
            raise SettingsError(f"listen: {settings.listen} cannot be listened on") from None
        await server.start()
        self._server = server
        self._health.set("", SERVICE_NAME, serving=True)
        return f"{host}:{port}"

    def summary(self, address: str) -> str:
        """Returns one line: what is served, where, on what."""
        names = ", ".join(dict.fromkeys(model.key.name for model in self._catalog))
        return f"serving {names} on {address} ({self._engine.providers[0]})"

    async def drain(self) -> None:
        """Says NOT_SERVING, lets what is in flight finish within the grace period, and stops."""
        self._health.stop()
        in_time = await self._traffic.drain(self._settings.drain_seconds)
        if not in_time:
            _log.warning("gave up what was in flight after %g s", self._settings.drain_seconds)
        if self._server is not None:
            # Health may be watched without end: that nobody waits for.
            await self._server.stop(_FAREWELL_SECONDS if in_time else None)
        await asyncio.to_thread(self._scheduler.close)
        self._freed_memory.close()
        self._executor.shutdown()
        if self._server is not None:  # else it was a start that failed
            _log.info("drained: %s", self.traffic)

    @property
    def traffic(self) -> TrafficCounts:
        """How many calls came since the start, and how they ended."""
        return self._traffic.counts

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait for a thread or are being read, and the bytes that all calls hold."""
        return self._scheduler.waiting

    def _service(self) -> grpc.GenericRpcHandler:
        settings, limits = self._settings, self._settings.limits
        means = Means(
            catalog=self._catalog,
            limits=limits,
            decoder=Decoder(self._catalog, limits),
            stream_decoder=StreamDecoder(self._catalog, limits.on_stream()),
            scheduler=self._scheduler,
            executor=self._executor,
            freed_memory=self._freed_memory,
        )
        return service(
            AttendHandlers(means),
            StreamHandlers(means, self._traffic),
            DescribeHandlers(
                self._catalog,
                limits,
                waiting_requests=settings.max_waiting_requests,
                waiting_bytes=settings.max_waiting_bytes,
                drain_seconds=settings.drain_seconds,
                version=metadata.version("attention-service"),
                providers=self._engine.providers,
            ),
            self._traffic,
            self._freed_memory,
        )

    def _load_models(self) -> Iterator[Model]:
        own = self._settings.models
        roots = [*([BUILT_IN] if self._settings.demo else []), *([own] if own else [])]
        if own and not any(find_model_directories(own)):
            # An empty directory waits for models; whoever put something there meant it to be one.
            empty = all(entry.name.startswith(".") for entry in own.iterdir())
            _log.log(
                logging.INFO if empty else logging.WARNING,
                "no model in %s: it must hold <name>/<version>/manifest.json",
                own,
            )
        with Trial() as trial:
            for found in find_models(roots):
                if isinstance(found, RefusedModel):
                    _log.error("model %s is not served: %s", found.name, found.reason)
                elif self._load(found, trial):
                    yield found.model

    def _load(self, found: FoundModel, trial: Trial) -> bool:
        name = "/".join(found.model.key)
        started = time.monotonic()
        fault = None if found.is_built_in else trial.fault_of(found)
        if fault is not None:
            _log.error("model %s is not served: %s", name, fault)
            return False
        try:
            self._engine.load(found.model, found.files)
        except ModelUnusable as error:
            _log.error("model %s is not served: %s", name, error)
            return False
        _log.debug("model %s loaded in %.0f ms", name, (time.monotonic() - started) * 1e3)
        return True
