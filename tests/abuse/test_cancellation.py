"""Calls that are cancelled or run out of time at any moment: each ends once and leaves nothing."""

from __future__ import annotations

import random

import pytest

from tests.abuse.impatience import Crowd
from tests.abuse.watched import WatchedServer, needs_linux

ROUNDS, CALLS = 7, 350
# Memory after a round differs by 2 MiB, at times by 5, with what was under way at once, and the
# first round takes what stays. So the least of the next rounds is compared with the least of the
# last: of what is kept, three rounds' worth lies between them. 8 KiB of each call are found, as is
# one large request in a hundred.
FLAT_KIB = 2048


pytestmark = needs_linux


def test_every_call_ends_once_and_leaves_nothing_behind(
    fuzz_seed: int, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with WatchedServer("--no-demo", "--engine-threads", "1") as server:
        before = server.figures()
        crowd = Crowd(server.address, random.Random(fuzz_seed))  # noqa: S311 - no secret
        rounds = []
        for _ in range(ROUNDS):
            crowd.call(CALLS)
            rounds.append(server.figures_once(lambda now: now.as_before(before)))
        server.terminate()
        status = server.wait()

    after, memory = rounds[-1], [now.resident_kib for now in rounds[1:]]
    half = len(memory) // 2
    with capsys.disabled():
        print(  # noqa: T201 - figures
            f"[sent {ROUNDS * CALLS} accepted {after.accepted} "
            f"answered {after.answered} refused {after.refused} cancelled {after.cancelled} "
            f"expired {after.expired}; resident MiB {[kib // 1024 for kib in memory]}]",
            end=" ",
        )
    assert after.as_before(before), (before, after)
    assert min(memory[half:]) <= min(memory[:half]) + FLAT_KIB, memory
    assert sum(crowd.ends.values()) == ROUNDS * CALLS
    # A quarter leaves before the server hears of it.
    assert after.accepted - before.accepted >= ROUNDS * CALLS // 2, "hardly any call came"
    assert crowd.ends["ok"] <= after.answered, "callers know of answers that the server does not"
    assert min(after.answered, after.refused, after.cancelled, after.expired) >= 20, "too tame"
    assert status == 0
    assert "drained: " in server.log[-1]
    assert len([line for line in server.log if not line.startswith("figures ")]) == 3, server.log
    assert not caplog.records  # nothing that asyncio never retrieved, nothing destroyed
