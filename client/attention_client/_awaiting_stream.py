"""A stream whose answers arrive in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc

from attention_client._channel import ATTEND_STREAM
from attention_client._stream import NoStream, Stream, Uploads

__all__ = ["AwaitingStream"]


class AwaitingStream(Stream):
    """A stream on a channel of gRPC's asyncio API, opened in the loop that it belongs to.

    Args:
        channel: The channel.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__()
        self._outbox: asyncio.Queue[bytes | Iterator[bytes] | None] = asyncio.Queue()
        call: Any = channel.stream_stream(
            ATTEND_STREAM, request_serializer=None, response_deserializer=None
        )
        self._call = call()
        # Tasks of their own: gRPC ends the call where a task that writes or reads is cancelled.
        self._writing = asyncio.create_task(self._write())
        self._reading = asyncio.create_task(self._read())

    def _send(self, what: bytes | Iterator[bytes] | None) -> None:
        self._outbox.put_nowait(what)

    def _cancel(self) -> None:
        self._call.cancel()
        self._writing.cancel()

    async def _write(self) -> None:
        """Sends what is to be sent, small messages between the pieces of large requests."""
        uploads = Uploads()
        is_last = False
        try:
            while uploads or not is_last:
                if uploads and self._outbox.empty():
                    piece = uploads.next()
                    if piece is not None:
                        await self._call.write(piece)
                    continue
                what = await self._outbox.get()
                if what is None:
                    is_last = True
                elif isinstance(what, bytes):
                    await self._call.write(what)
                else:
                    uploads.add(what)
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the stream is over: who reads is told why

    async def _read(self) -> None:
        """Takes messages until the stream ends."""
        try:
            while (data := await self._call.read()) is not grpc.aio.EOF:
                self._received(data)
            self._broke(None)
        except grpc.RpcError as error:
            self._broke(error)
        finally:
            self._ended(NoStream())  # where the task itself was ended, with its loop
            self._writing.cancel()
