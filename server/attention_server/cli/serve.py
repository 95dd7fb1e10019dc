"""The server as a process: from its settings to the signal that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from attention_server.app import App
from attention_server.cli.failure import CommandFailed
from attention_server.cli.sources import Given
from attention_server.edge.freed_memory import use_one_heap
from attention_server.engine.providers import EngineUnavailable
from attention_server.settings import SettingsError

__all__ = ["serve"]

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STDERR = 2
_LAST_WORDS = b"attention-server: stopped at once by a second signal; what was in flight is lost\n"


def serve(given: Given) -> None:
    """Serves until SIGTERM or SIGINT, and drains.

    Raises:
        CommandFailed: It cannot start.
    """
    logging.basicConfig(
        level=given.settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    # It logs a traceback where a caller goes away just as its answer is sent.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
    use_one_heap()
    try:
        asyncio.run(_serve(App(given.settings)))
    except (EngineUnavailable, SettingsError) as error:
        raise CommandFailed(str(error)) from None


async def _serve(app: App) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def expect_second(number: int, frame: object) -> None:
        for each in _SIGNALS:
            signal.signal(each, _stop_at_once)

    # The loop's own handler wakes a loop that sleeps, in whichever thread the signal comes in, but
    # waits for one that is held up. So what a second signal does stands in Python's own, beside it.
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
        signal.signal(number, expect_second)
    try:
        address = await app.start()
        _log.info(app.summary(address))
        await stop.wait()
        _log.info("draining; a second signal stops at once")
    finally:
        await app.drain()


def _stop_at_once(number: int, frame: object) -> None:
    """Ends the process without waiting for anybody: not for callers, not for a thread."""
    # Nor for the log: somebody may hold its lock, or nobody read it.
    with contextlib.suppress(OSError):
        os.set_blocking(_STDERR, False)
        os.write(_STDERR, _LAST_WORDS)
    os._exit(128 + number)
