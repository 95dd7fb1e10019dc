"""Where an outcome arrives: told before it is waited for, meanwhile, or too late."""

from __future__ import annotations

import asyncio
import threading

import pytest

from attention_client._reply import AwaitedReply, BlockingReply, finished
from attention_client._stream import NoStream
from attention_client._turns import Turns

OUTCOME = NoStream()


def test_a_thread_gets_what_was_told_before_it_waits() -> None:
    reply = BlockingReply()
    reply(OUTCOME)

    assert finished(reply.outcome(20)) is OUTCOME


def test_a_thread_gets_what_another_tells() -> None:
    reply = BlockingReply()
    telling = threading.Timer(0.3, reply, (OUTCOME,))  # longer than a thread waits at a time
    telling.start()

    assert finished(reply.outcome(20)) is OUTCOME
    telling.join()


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3])
def test_a_thread_waits_no_longer_than_it_has(seconds: float) -> None:
    assert finished(BlockingReply().outcome(seconds)) is None


async def test_an_awaited_reply_takes_one_outcome() -> None:
    reply = AwaitedReply()
    reply(OUTCOME)
    reply(NoStream())

    assert await reply.outcome(20) is OUTCOME
    assert await AwaitedReply().outcome(0.01) is None


def test_turns_get_what_is_told_before_they_wait_and_nothing_after_their_time() -> None:
    turns: Turns[object] = Turns()

    async def told() -> object:
        reply = turns.reply()
        reply(OUTCOME)
        return await reply.outcome(20)

    async def late() -> object:
        first = turns.reply()
        nothing = await first.outcome(0.01)
        first(NoStream())  # to the one before
        second = turns.reply()
        second(OUTCOME)
        return nothing, await second.outcome(20)

    both = [turns.start(told()), turns.start(late())]

    assert turns.result(both[0]) is OUTCOME
    assert turns.result(both[1]) == (None, OUTCOME)


def test_a_coroutine_that_would_give_way_is_no_blocking_one() -> None:
    with pytest.raises(RuntimeError, match="gave way"):
        finished(asyncio.sleep(0))
