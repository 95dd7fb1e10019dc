"""Peers of the server that are no gRPC: h2's frames, or any bytes, on a plain socket."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event
from hpack import Encoder
from hyperframe import frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ATTEND = "/attention_service.v1.AttentionService/Attend"

_USUAL = {
    ":method": "POST",
    ":scheme": "http",
    ":path": ATTEND,
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}
_STUCK_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def message(body: bytes, *, promised: int | None = None) -> bytes:
    """Returns a message as gRPC frames it, or one that promises another length than it has."""
    return struct.pack(">BI", 0, len(body) if promised is None else promised) + body


class Peer:
    """One connection that keeps no rule it is not told to keep.

    What is sent after the server closed the connection, or stopped to read it, is lost.

    Args:
        address: Where the server listens.
        reads: Take what the server says, and forget it; else the sockets fill up.
    """

    def __init__(self, address: str, *, reads: bool = True) -> None:
        self._socket = _connected(address)
        self._socket.settimeout(_STUCK_SECONDS)
        self._is_open = True
        self._encoder = Encoder()
        self._streams = itertools.count(1, 2)
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._forget, daemon=True)
        if reads:
            self._reader.start()

    def greet(self, settings: dict[int, int] | None = None) -> None:
        """Sends what HTTP/2 begins with."""
        self.send(
            PREFACE,
            frame.SettingsFrame(settings=settings or {}),
            frame.SettingsFrame(flags=["ACK"]),
        )

    def send(self, *parts: frame.Frame | bytes) -> None:
        """Sends frames and bytes as they are."""
        data = b"".join(p if isinstance(p, bytes) else p.serialize() for p in parts)
        if self._is_open:
            try:
                self._socket.sendall(data)
            except OSError:  # closed by the server, or full for as long as anyone would wait
                self._is_open = False

    def headers(
        self, more: dict[str, str] | None = None, *, repeat: int = 1, ended: bool = True
    ) -> frame.HeadersFrame:
        """Returns the headers of a call on a stream of its own.

        Args:
            more: Metadata, and other values for the usual headers.
            repeat: How often to say all that is not usual.
            ended: Whether no CONTINUATION follows.
        """
        other = more or {}
        usual = [(name, other.get(name, value)) for name, value in _USUAL.items()]
        unusual = [item for item in other.items() if item[0] not in _USUAL]
        return frame.HeadersFrame(
            next(self._streams),
            self._encoder.encode(usual + unusual * repeat),
            flags=["END_HEADERS"] if ended else [],
        )

    def reset(self) -> None:
        """Makes the end of the connection a RST in place of a FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def wait_until_closed(self) -> None:
        """Returns once the server ended the connection. The peer must read."""
        assert self._closed.wait(_PATIENCE_SECONDS), "the server keeps the connection"

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reader.is_alive():
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)  # wakes the reader
            self._reader.join()
        self._socket.close()

    def _forget(self) -> None:
        while True:
            try:
                if not self._socket.recv(1 << 16):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self._closed.set()


class PolitePeer:
    """One connection that answers as HTTP/2 asks: settings and pings are acknowledged."""

    def __init__(self, address: str) -> None:
        self._socket = _connected(address)
        self._socket.settimeout(_PATIENCE_SECONDS)
        self.http = H2Connection(H2Configuration(client_side=True))
        """What it does beside; ``flush`` sends it."""
        self.http.initiate_connection()
        self.flush()

    def call(self) -> None:
        """Begins a call that sends no message."""
        self.http.send_headers(self.http.get_next_available_stream_id(), list(_USUAL.items()))

    def flush(self) -> None:
        """Sends what is to be sent."""
        self._socket.sendall(self.http.data_to_send())

    def events(self) -> Iterator[Event]:
        """Yields what happens on the connection, answering it, until the server ends it."""
        while data := self._socket.recv(1 << 16):
            for event in self.http.receive_data(data):
                yield event
                if isinstance(event, ConnectionTerminated):
                    return
            self.flush()

    def __enter__(self) -> PolitePeer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))
