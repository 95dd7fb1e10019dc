"""A batch holds the oldest request and those that need little padding beside it."""

from __future__ import annotations

import random

import pytest

from attention_server.scheduling.load import MOST_PADDING, Load, companions, joined_work


def _loads(*lengths: int) -> list[Load]:
    return [Load("model", "key", 1, length, length) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "most", "chosen"),
    [
        ([16, 16, 16], 8, {0, 1, 2}),
        ([16, 16, 16], 2, {0, 1}),
        ([16, 512, 15], 8, {0, 2}),
        ([512, 16, 500], 8, {0, 2}),
        ([8, 30, 30, 30, 30], 8, {0, 1, 2, 3, 4}),
        ([4, 30, 30, 30, 30], 8, {0}),
        ([16], 8, {0}),
    ],
    ids=[
        "all alike",
        "no more than most",
        "a giant stays out",
        "dwarfs stay out",
        "the oldest is a little short",
        "the oldest is far too short",
        "nobody else",
    ],
)
def test_the_largest_batch_with_little_padding_is_chosen(
    lengths: list[int], most: int, chosen: set[int]
) -> None:
    assert set(companions(_loads(*lengths), most=most, budget=8192)) == chosen


def test_whatever_waits_a_batch_begins_with_the_oldest_and_keeps_the_bounds() -> None:
    chance = random.Random(0)  # noqa: S311 - no secret
    sizes = []
    for _ in range(300):
        alike = [
            Load("model", "key", chance.choice([1, 1, 3]), chance.randint(1, 64), kv_len)
            for kv_len in chance.choices(range(1, 300), k=chance.randint(1, 20))
        ]
        chosen = companions(alike, most=8, budget=1000)
        batch = [alike[i] for i in chosen]

        assert chosen[0] == 0
        assert len(set(chosen)) == len(chosen) <= 8
        if len(batch) > 1:
            work = joined_work(batch)
            assert work <= 1000
            assert sum(load.work for load in batch) >= (1 - MOST_PADDING) * work
        sizes.append(len(batch))
    assert max(sizes) > 5
