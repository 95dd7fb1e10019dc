from __future__ import annotations

from collections.abc import Iterator

import pytest

from attention_client import AttentionClient
from attention_server import EmbeddedServer


@pytest.fixture(scope="package")
def client() -> Iterator[AttentionClient]:
    """A client of a real server with "sdpa" and "demo"."""
    with EmbeddedServer() as server, AttentionClient(server.address) as client:
        yield client
