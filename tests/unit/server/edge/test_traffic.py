from __future__ import annotations

import asyncio

import pytest

from attention_server.domain.errors import ShuttingDown
from attention_server.edge.traffic import Traffic

LONG = 60.0


async def test_draining_nothing_is_done_at_once() -> None:
    assert await Traffic().drain(0.0)


async def test_call_is_refused_once_draining() -> None:
    traffic = Traffic()
    await traffic.drain(0.0)

    with pytest.raises(ShuttingDown):
        traffic.begin()


async def test_draining_waits_for_every_call() -> None:
    traffic = Traffic()
    traffic.begin()
    traffic.begin()
    draining = asyncio.create_task(traffic.drain(LONG))
    await asyncio.sleep(0)
    traffic.end()
    await asyncio.sleep(0)
    assert not draining.done()

    traffic.end()
    assert await draining


async def test_draining_gives_up_what_takes_too_long() -> None:
    traffic = Traffic()
    traffic.begin()

    assert not await traffic.drain(0.0)


async def test_refused_call_does_not_count() -> None:
    traffic = Traffic()
    await traffic.drain(0.0)
    with pytest.raises(ShuttingDown):
        traffic.begin()

    assert await traffic.drain(LONG)
