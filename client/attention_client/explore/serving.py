"""Serves the page on this machine alone, until Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from attention_client.explore.app import Example, Explorer
from attention_client.explore.errors import ExploreError
from attention_client.explore.texts import open_texts

__all__ = ["explore", "serving"]

_LOOPBACK = "127.0.0.1"


def explore(
    server: str,
    *,
    text: Path | None = None,
    port: int = 0,
    browser: bool = True,
    example: Example | None = None,
    timeout: float = 30.0,
    say: Callable[[str], None] = print,
) -> None:
    """Serves the page, and returns at Ctrl-C.

    Args:
        server: "host:port" of the attention server.
        text: Directory with a tokenizer and embeddings; only uploads without it.
        port: Of 127.0.0.1; a free one where 0.
        browser: Whether to open a browser, where there is one.
        example: A text to begin with.
        timeout: Seconds that a call has.
        say: Takes what the person should read.

    Raises:
        ExploreError: A directory that holds no texts, or a port that is taken.
        ValueError: An address or a timeout that is none.
    """
    texts = None if text is None else open_texts(text)
    folder = None if text is None else text.resolve()
    explorer = Explorer(server, folder=folder, texts=texts, example=example, timeout=timeout)
    listening = _listening(port)
    address = f"http://{_LOOPBACK}:{listening.getsockname()[1]}"
    say(f"Explore attention at {address} (Ctrl-C ends)")
    if browser and _has_browser():
        # A browser takes a moment to start; connections wait in the socket, which listens already.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    # uvicorn ends cleanly at Ctrl-C, and raises it again for whoever started it.
    with listening, contextlib.suppress(KeyboardInterrupt):
        _server(explorer.app()).run(sockets=[listening])


@contextlib.contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serves from a thread while its ``with`` block runs: notebooks, tests.

    Yields:
        The page's address.
    """
    server = _server(app)
    with _listening(0) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://{_LOOPBACK}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _listening(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "a port is 0 to 65535"
        raise ExploreError(f"port {port} of {_LOOPBACK}: {reason}") from error
    listening.listen()
    return listening


def _server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
    )


def _has_browser() -> bool:
    """Returns whether a browser with a window can be started; a text browser would take over."""
    window = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return platform.system() != "Linux" or bool(window)
