"""What peers do to a server, as a table."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame

from tests.abuse.peer import ATTEND, PREFACE, Peer, message
from tests.messages import floats, sdpa

_SMALL = sdpa().SerializeToString()
_AT_ONCE = 100
_WIDEST = (1 << 31) - 1
_STREAM = {":path": ATTEND + "Stream"}
_WATCH = {":path": "/grpc.health.v1.Health/Watch"}
_WRONG = [
    {":path": "nope"},
    {":path": "/" + "a" * 500},
    {":path": "/attention_service.v1.AttentionService/Nope"},
    {":method": "GET"},
    {"te": "deflate"},
    {"content-type": "text/html"},
    {"grpc-encoding": "gzip"},
    {"grpc-timeout": "soon"},
]


@dataclass(frozen=True)
class Abuse:
    """One way to harm a server."""

    act: Callable[[Peer, int], None]
    """What each peer does, as often as told."""
    times: int = 1
    peers: int = 1
    reads: bool = True
    """Whether the peers read what the server says."""

    def commit(self, address: str) -> None:
        """Does it all, and leaves."""
        with ExitStack() as stack:
            peers = [
                stack.enter_context(Peer(address, reads=self.reads)) for _ in range(self.peers)
            ]
            for peer in peers:
                self.act(peer, self.times)


def _flood(*parts: frame.Frame, opened: bool = False) -> Callable[[Peer, int], None]:
    """Returns an act: the same frames again and again, on a connection or on a call's stream 1."""
    once = b"".join(part.serialize() for part in parts)

    def act(peer: Peer, times: int) -> None:
        peer.greet()
        if opened:
            peer.send(peer.headers())
        for _ in range(times // _AT_ONCE):
            peer.send(once * _AT_ONCE)

    return act


def _calls(
    *bodies: bytes, more: Iterable[dict[str, str]] = ({},), ended: bool = False, reset: bool = False
) -> Callable[[Peer, int], None]:
    """Returns an act: calls that are begun, and how far they come."""
    flags = ["END_STREAM"] if ended else []

    def call(peer: Peer, more: dict[str, str]) -> bytes:
        headers = peer.headers(more)
        stream = headers.stream_id
        parts: list[frame.Frame] = [headers]
        parts += [frame.DataFrame(stream, body, flags=flags) for body in bodies]
        if reset:
            parts.append(frame.RstStreamFrame(stream, error_code=ErrorCodes.CANCEL))
        return b"".join(part.serialize() for part in parts)

    def act(peer: Peer, times: int) -> None:
        peer.greet()
        kinds = list(more)
        for first in range(0, times, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, times))
            peer.send(*(call(peer, kinds[i % len(kinds)]) for i in some))

    return act


def _continuations(peer: Peer, times: int) -> None:
    """CVE-2024-27316: headers that never end."""
    peer.greet()
    headers = peer.headers(ended=False)
    peer.send(headers)
    block = peer.headers({f"x-{i}": "y" * 100 for i in range(100)}).data
    for _ in range(times):
        peer.send(frame.ContinuationFrame(headers.stream_id, block))


def _windows_shut(peer: Peer, times: int) -> None:
    """Asks for answers of 2 MiB and has no room for a byte of them."""
    request = sdpa(query=floats(1, 512, 2), key=None, value=None)
    request.outputs.weights.SetInParent()
    peer.greet({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(times):
        headers = peer.headers()
        body = message(request.SerializeToString())
        peer.send(headers, frame.DataFrame(headers.stream_id, body, flags=["END_STREAM"]))


def _header_bomb(peer: Peer, times: int) -> None:
    """A few bytes that HPACK unfolds into 6 MB: one long field, said once and then pointed at."""
    peer.greet()
    for _ in range(times):
        peer.send(peer.headers({"x-bomb": "z" * 3000}, repeat=2000))


def _byte_by_byte(peer: Peer, times: int) -> None:
    headers = peer.headers()
    parts = (
        frame.SettingsFrame(),
        headers,
        frame.DataFrame(headers.stream_id, message(_SMALL), flags=["END_STREAM"]),
    )
    data = PREFACE + b"".join(part.serialize() for part in parts)
    for byte in data[:times]:
        peer.send(bytes([byte]))
        time.sleep(0.002)  # slow is the point


def _after_goaway(peer: Peer, times: int) -> None:
    peer.greet()
    peer.send(frame.GoAwayFrame(0))
    _calls(message(_SMALL), ended=True)(peer, times)


def _vanish(peer: Peer, times: int) -> None:
    peer.greet()
    peer.send(*(peer.headers() for _ in range(times)))
    peer.reset()


def _bytes(data: bytes) -> Callable[[Peer, int], None]:
    return lambda peer, times: peer.send(data * times)


_PING = frame.PingFrame(opaque_data=b"12345678")
_SETTINGS = frame.SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
_OTHER_SETTINGS = frame.SettingsFrame(settings={SettingCodes.HEADER_TABLE_SIZE: 0})
_CLIENT_HELLO = bytes.fromhex("16030100b1010000ad0303") + bytes(range(166))

ABUSES = {
    "rapid reset of calls": Abuse(_calls(reset=True), 20_000),
    "rapid reset of calls, unread": Abuse(_calls(reset=True), 20_000, reads=False),
    "rapid reset of requests": Abuse(_calls(message(_SMALL), ended=True, reset=True), 4_000),
    "rapid reset of streams": Abuse(_calls(more=[_STREAM], reset=True), 4_000),
    "pings": Abuse(_flood(_PING), 50_000),
    "pings, unread": Abuse(_flood(_PING), 50_000, reads=False),
    "settings": Abuse(_flood(_SETTINGS, _OTHER_SETTINGS), 20_000),
    "settings, unread": Abuse(_flood(_SETTINGS, _OTHER_SETTINGS), 20_000, reads=False),
    "empty data": Abuse(_flood(frame.DataFrame(1), opened=True), 50_000),
    "empty continuations": Abuse(_flood(frame.HeadersFrame(1), frame.ContinuationFrame(1)), 50_000),
    "continuations without end": Abuse(_continuations, 500),
    "priorities and unknown frames": Abuse(
        _flood(frame.PriorityFrame(77, depends_on=3), frame.ExtensionFrame(type=0xBE, stream_id=0)),
        20_000,
    ),
    "windows that overflow": Abuse(
        _flood(
            frame.WindowUpdateFrame(0, _WIDEST), frame.WindowUpdateFrame(1, _WIDEST), opened=True
        ),
        1_000,
    ),
    "windows byte by byte": Abuse(
        _flood(frame.WindowUpdateFrame(0, 1), frame.WindowUpdateFrame(1, 1), opened=True), 20_000
    ),
    "windows shut": Abuse(_windows_shut, 40),
    "answers unread": Abuse(_windows_shut, 40, reads=False),
    "calls without a message": Abuse(_calls(), 10_000),
    "messages that do not come": Abuse(_calls(message(b"abc", promised=1 << 20)), 5_000),
    "messages that stop half way": Abuse(_calls(message(bytes(1 << 20), promised=1 << 21)), 40),
    "messages of 4 GiB": Abuse(_calls(message(b"abc", promised=(1 << 32) - 1)), 2_000),
    "streams without a message": Abuse(_calls(more=[_STREAM]), 2_000),
    "health watched": Abuse(_calls(message(b""), more=[_WATCH], ended=True), 2_000),
    "wrong headers": Abuse(_calls(message(_SMALL), more=_WRONG, ended=True), 4_000),
    "much metadata": Abuse(
        _calls(more=[{f"x-{i}": "y" * 40 for i in range(100)}]),
        400,
    ),
    "header bomb": Abuse(_header_bomb, 50),
    "calls after goaway": Abuse(_after_goaway, 2_000),
    "calls of peers that vanish": Abuse(_vanish, 20, peers=50),
    "silence": Abuse(_bytes(b""), peers=400),
    "half a preface": Abuse(_bytes(PREFACE[:12]), peers=200),
    "slow bytes": Abuse(_byte_by_byte, 400),
    "http/1.1": Abuse(_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), peers=200),
    "tls": Abuse(_bytes(_CLIENT_HELLO), peers=200),
    "random bytes": Abuse(_bytes(random.Random(1).randbytes(2_000)), peers=200),  # noqa: S311
}
