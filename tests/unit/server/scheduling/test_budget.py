"""Bytes of calls in flight: bounded together, given back by each."""

from __future__ import annotations

import pytest

from attention_server.domain.errors import QueueFull
from attention_server.scheduling.budget import RETRY_AFTER_SECONDS, Budget


def test_calls_together_hold_no_more_than_there_is() -> None:
    budget = Budget(10)
    budget.take("first", 6)
    budget.take("second", 4)

    with pytest.raises(QueueFull) as full:
        budget.take("third", 1)

    assert full.value.retry_after_seconds == RETRY_AFTER_SECONDS


def test_an_answer_for_which_nothing_is_left_is_refused() -> None:
    budget = Budget(10)
    budget.take("first", 6)
    budget.take("second", 3)

    with pytest.raises(QueueFull):
        budget.take("second", 2)


def test_a_call_larger_than_everything_is_served_alone() -> None:
    budget = Budget(10)
    budget.take("large", 11)
    budget.take("large", 7)

    with pytest.raises(QueueFull):
        budget.take("other", 0)


def test_what_a_call_held_is_for_others_when_it_is_over() -> None:
    budget = Budget(10)
    budget.take("first", 4)
    budget.take("first", 6)

    assert budget.give_back("first") == 10

    budget.take("second", 6)
    budget.take("third", 4)


def test_a_call_that_was_refused_holds_nothing() -> None:
    budget = Budget(10)
    budget.take("first", 6)
    with pytest.raises(QueueFull):
        budget.take("second", 5)

    assert budget.give_back("second") == 0
    budget.take("third", 4)
