"""Servers that send back what they are sent: what gRPC alone costs in Python.

``python -m bench.echo_server sync`` has threads, ``aio`` an event loop as ours.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

__all__ = ["OPTIONS", "STREAM", "UNARY", "main"]

UNARY, STREAM = "/echo.Echo/Unary", "/echo.Echo/Stream"
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.lookahead_bytes", 16 << 20),
    ("grpc.http2.max_frame_size", (16 << 20) - 1),
)
"""Those that make large messages quick, for the server and for who calls it."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo_server")
    parser.add_argument("kind", choices=("sync", "aio"))
    if parser.parse_args(command_line).kind == "sync":
        server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
        server.add_generic_rpc_handlers((_handlers(_echo, _echo_stream),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        _say(port)
        server.wait_for_termination()
    else:
        asyncio.run(_serve_aio())


async def _serve_aio() -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_handlers(_aio_echo, _aio_echo_stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _say(port)
    await server.wait_for_termination()


def _say(port: int) -> None:
    print(f"serving on 127.0.0.1:{port} (echo)", file=sys.stderr, flush=True)


def _handlers(unary: Any, stream: Any) -> grpc.GenericRpcHandler:
    _, service, _ = UNARY.split("/")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        UNARY.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(unary),
        STREAM.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(stream),
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def _echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    return request


def _echo_stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


async def _aio_echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def _aio_echo_stream(
    requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


if __name__ == "__main__":
    main()
