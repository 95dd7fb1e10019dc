"""The real server inside this process: for notebooks, tests and examples."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from attention_server.app import App
from attention_server.edge.traffic import TrafficCounts
from attention_server.listening import reachable
from attention_server.settings import checked

__all__ = ["EmbeddedServer"]

_T = TypeVar("_T")


class EmbeddedServer:
    """Serves from a thread of its own while its ``with`` block runs.

    Args:
        models: Directory of models, ``<name>/<version>/`` each; none if absent.
        listen: Address and port; by default a free port of 127.0.0.1.
        **settings: Any other of ``attention_server.settings.Settings``.

    Raises:
        SettingsError: Settings that make no sense.
    """

    def __init__(
        self, models: Path | str | None = None, *, listen: str = "127.0.0.1:0", **settings: object
    ) -> None:
        self._settings = checked({"models": models, "listen": listen, **settings})
        self._running: _Running | None = None
        self._app: App | None = None
        self.address = ""
        """Where clients in this process find the server, "127.0.0.1:50051" say."""

    def start(self) -> EmbeddedServer:
        """Starts serving, until ``close``: where no ``with`` block fits, across notebook cells say.

        Raises:
            RuntimeError: It serves already.
            EngineUnavailable: ONNX Runtime is missing.
            SettingsError: The address cannot be listened on.
        """
        if self._running is not None:
            raise RuntimeError("this server serves already")
        self._app = App(self._settings)
        self._running = _Running(self._app)
        try:
            self.address = reachable(self._running.in_loop(self._running.app.start()))
        except BaseException:
            self.close()
            raise
        return self

    @property
    def traffic(self) -> TrafficCounts:
        """How many calls came since the last start, and how they ended."""
        return TrafficCounts() if self._app is None else self._app.traffic

    def close(self) -> None:
        """Drains and stops; a server that does not serve is left as it is."""
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def __enter__(self) -> EmbeddedServer:
        """Starts serving."""
        return self.start()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drains and stops."""
        self.close()


class _Running:
    """A server in an event loop of its own, in a thread of its own."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        # A daemon: a server that was never closed does not keep the process from ending.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="attention-server", daemon=True
        )
        self._thread.start()

    def in_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def end(self) -> None:
        try:
            self.in_loop(self.app.drain())
            self.in_loop(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
