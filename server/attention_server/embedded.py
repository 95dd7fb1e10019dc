"""The real server inside this process: for notebooks, tests and examples."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType

from attention_server.app import App
from attention_server.settings import Settings

__all__ = ["EmbeddedServer"]


class EmbeddedServer:
    """Serves from a thread of its own while its ``with`` block runs.

    Args:
        models: Directory of models, ``<name>/<version>/`` each; none if absent.
        listen: Address and port; by default a free port of 127.0.0.1.
        **settings: Any other of ``attention_server.settings.Settings``.

    Raises:
        EngineUnavailable: ONNX Runtime is missing.
        SettingsError: The address cannot be listened on.
        pydantic.ValidationError: Settings that make no sense.
    """

    def __init__(
        self, models: Path | str | None = None, *, listen: str = "127.0.0.1:0", **settings: object
    ) -> None:
        self._settings = Settings.model_validate({"models": models, "listen": listen, **settings})
        self.address = ""
        """Where the server listens, "127.0.0.1:50051" say."""

    def __enter__(self) -> EmbeddedServer:
        """Starts serving."""
        # Not before: a server that is never started leaves no thread and no event loop behind.
        self._app = App(self._settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="attention-server")
        self._thread.start()
        try:
            starting = asyncio.run_coroutine_threadsafe(self._app.start(), self._loop)
            self.address = starting.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drains and stops."""
        self._end()

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._app.drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
