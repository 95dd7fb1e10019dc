from __future__ import annotations

from collections.abc import Iterator

import pytest

from attention_client.explore.app import Example, Explorer
from attention_client.explore.serving import serving
from attention_client.explore.texts import open_texts
from attention_server import EmbeddedServer
from tests.unit.client.explore.called import DEMO, SENTENCE


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server with the demo's model."""
    with EmbeddedServer() as server:
        yield server.address


@pytest.fixture(scope="module")
def page(server: str) -> Iterator[str]:
    """The page's program, with the demo's texts."""
    explorer = Explorer(
        server, folder=DEMO, texts=open_texts(DEMO), example=Example(SENTENCE, len(SENTENCE) - 1)
    )
    with serving(explorer.app()) as address:
        yield address
