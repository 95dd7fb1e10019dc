from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from attention_client._channel import channel_options
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    serve: Serve, ask: Ask, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for variable in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")  # nobody is there
    address = serve(GetServerInfo=lambda *_: pb.GetServerInfoResponse(version="1.2.3"))

    info = ask(
        address.replace("127.0.0.1", host),
        lambda client: client.server_info(timeout=10),
        retry=None,
    )

    assert info.version == "1.2.3"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.1.2.3:50051",
        "localhost:50051",
        "LocalHost:50051",
        "[::1]:50051",
        "dns:localhost:50051",
        "dns:///localhost:50051",
        "dns://8.8.8.8/localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv6:[::1]:50051",
        "unix:/run/attention",
        "unix:///run/attention",
        "unix-abstract:attention",
    ],
)
def test_this_machine_is_reached_without_a_proxy(address: str) -> None:
    assert ("grpc.enable_http_proxy", 0) in channel_options(address)


@pytest.mark.parametrize(
    "address",
    [
        "attention:50051",
        "localhost.example.org:50051",
        "10.0.0.1:50051",
        "127.0.0.1.example.org:50051",
        "[2001:db8::1]:50051",
        "dns:///attention:50051",
        "dns://127.0.0.1/attention:50051",
    ],
)
def test_for_other_machines_the_environment_says_whether_there_is_a_proxy(address: str) -> None:
    assert "grpc.enable_http_proxy" not in dict(channel_options(address))
