"""Both clients behind one way of asking, and a gate before the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from attention_client import AsyncAttentionClient, AttentionClient
from tests.integration.gate import Gate


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Asks with either client: ``ask(address, lambda client: client.list_models())``."""

    def blocking(address: str, question: Callable[[Any], Any], **settings: Any) -> Any:
        with AttentionClient(address, **settings) as client:
            return question(client)

    def awaiting(address: str, question: Callable[[Any], Any], **settings: Any) -> Any:
        async def wait() -> Any:
            async with AsyncAttentionClient(address, **settings) as client:
                return await question(client)

        return asyncio.run(wait())

    return blocking if request.param == "blocking" else awaiting


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Stops requests before the engine of any server that a test starts."""
    gate = Gate(monkeypatch)
    yield gate
    gate.open()  # a test that failed must not keep its server from ending
