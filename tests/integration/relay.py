"""Stands between a client and a server, and holds an answer that is on its way."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

_PASSED_AT_ONCE = 256 * 1024


class Relay:
    """Passes everything on; of what the server says, the first 256 KiB and the rest on release."""

    def __init__(self, server_address: str) -> None:
        host, _, port = server_address.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.holds = threading.Event()
        """Set once it holds something back."""
        self._released = threading.Event()

    def release(self) -> None:
        """Passes on what it holds, and all that follows."""
        self._released.set()

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end of the block
            client, _ = self._listener.accept()
            server = socket.create_connection(self._server)
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            self._pass(server, client, hold_after=_PASSED_AT_ONCE)

    def _pass(
        self, source: socket.socket, target: socket.socket, *, hold_after: int | None = None
    ) -> None:
        passed = 0
        with source, target, contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if hold_after is not None and passed > hold_after:
                    self.holds.set()
                    self._released.wait()
                target.sendall(data)
                passed += len(data)
