"""A scripted server on a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from attention_service.v1 import attention_pb2_grpc


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers: ``serve(Attend=handler)`` returns the address of one."""
    servers: list[grpc.Server] = []

    def start(address: str = "127.0.0.1:0", **handlers: Callable[..., Any]) -> str:
        servicer: Any = type("Servicer", (attention_pb2_grpc.AttentionServiceServicer,), {})()
        for rpc, handler in handlers.items():
            setattr(servicer, rpc, handler)
        server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        attention_pb2_grpc.add_AttentionServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port(address)
        server.start()
        servers.append(server)
        return address if address.startswith("unix:") else f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait()
