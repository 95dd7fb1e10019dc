"""The command attention-server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from attention_server.app import App

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status.

    0: drained and stopped. 1: could not start. 2: settings that make no sense.
    """
    # gRPC's core writes lines of its own on what we say in ours, a taken port say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    signal.signal(signal.SIGTERM, _stop_starting)
    signal.signal(signal.SIGINT, _stop_starting)
    try:
        from attention_server.app import App
        from attention_server.engine.providers import EngineUnavailable
        from attention_server.settings import SettingsError, read_settings
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("attention_"):
            raise
        package = error.name.partition(".")[0]
        return _fail(
            f"{package} is missing; install it with: pip install 'attention-service[server]'", 1
        )
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        return _fail(str(error), 2)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    # It logs a traceback where a caller goes away just as its answer is sent.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
    try:
        asyncio.run(_serve(App(settings)))
    except (EngineUnavailable, SettingsError) as error:
        return _fail(str(error), 1)
    return 0


async def _serve(app: App) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    address = await app.start()
    logging.getLogger(__name__).info(app.summary(address))
    await stop.wait()
    logging.getLogger(__name__).info("draining")
    await app.drain()


def _stop_starting(number: int, frame: object) -> NoReturn:
    """Ends a server that does not serve yet, at once and without a traceback."""
    sys.exit(128 + number)


def _fail(message: str, status: int) -> int:
    print(f"attention-server: {message}", file=sys.stderr)
    return status
