from __future__ import annotations

import asyncio

import pytest

from attention_server.domain.errors import ShuttingDown
from attention_server.edge.traffic import Ending, Traffic, TrafficCounts

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
    traffic.end(Ending.ANSWERED)
    await asyncio.sleep(0)
    assert not draining.done()

    traffic.end(Ending.ANSWERED)
    assert await draining


async def test_draining_gives_up_what_takes_too_long() -> None:
    traffic = Traffic()
    traffic.begin()

    assert not await traffic.drain(0.0)


async def test_refused_call_is_not_waited_for() -> None:
    traffic = Traffic()
    await traffic.drain(0.0)
    with pytest.raises(ShuttingDown):
        traffic.begin()

    assert await traffic.drain(LONG)


@pytest.mark.parametrize("ending", Ending)
async def test_call_is_counted_while_it_lasts_and_then_by_its_ending(ending: Ending) -> None:
    traffic = Traffic()
    traffic.begin()
    assert traffic.counts == TrafficCounts(accepted=1, in_flight=1)

    traffic.end(ending)

    assert traffic.counts == TrafficCounts(accepted=1, **{ending.value: 1})


def test_counts_are_told_without_the_endings_that_none_had() -> None:
    assert str(TrafficCounts()) == "0 calls"
    assert (
        str(TrafficCounts(accepted=2000, answered=1998, failed=2))
        == "2,000 calls, 1,998 answered, 2 failed"
    )
