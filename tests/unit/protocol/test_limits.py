"""What a request may ask for: each limit at its border, named by its reason and its field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason

_LIMITS = Limits(message_bytes=1 << 20, batch=4, length=100, work=10_000, stream_bytes=1 << 30)
_AROUND_TENSORS = 4096


@pytest.mark.parametrize(
    "check",
    [
        lambda limits: limits.check_message(1 << 20),
        lambda limits: limits.check_sizes(4, 100, 100),
        lambda limits: limits.check_work(2, 5, 10, 100),
        lambda limits: limits.check_entries("outputs.weights.heads", 100),
        lambda limits: limits.check_heads({"query_heads": (1 << 28,), "key_heads": (1 << 28,)}),
        lambda limits: limits.check_answer({"output": ((1 << 20) - _AROUND_TENSORS,)}, 1),
    ],
    ids=["message", "sizes", "work", "entries", "heads", "answer"],
)
def test_a_limit_itself_is_allowed(check: Callable[[Limits], None]) -> None:
    check(_LIMITS)


@pytest.mark.parametrize(
    ("check", "reason", "field"),
    [
        (lambda limits: limits.check_message((1 << 20) + 1), Reason.MESSAGE_LIMIT, ""),
        (lambda limits: limits.check_sizes(5, 1, 1), Reason.BATCH_LIMIT, "query"),
        (lambda limits: limits.check_sizes(1, 101, 1), Reason.LENGTH_LIMIT, "query"),
        (lambda limits: limits.check_sizes(1, 1, 101), Reason.LENGTH_LIMIT, "key"),
        (lambda limits: limits.check_work(1, 1, 73, 137), Reason.WORK_LIMIT, ""),
        (lambda limits: limits.check_work(2**31, 2**31, 2**31, 2**31), Reason.WORK_LIMIT, ""),
        (
            lambda limits: limits.check_entries("outputs.weights.heads", 101),
            Reason.LENGTH_LIMIT,
            "outputs.weights.heads",
        ),
        (
            lambda limits: limits.check_heads({"query_heads": (1, (1 << 28) + 1)}),
            Reason.TENSOR_LIMIT,
            "",
        ),
        (
            lambda limits: limits.check_answer({"output": ((1 << 20) - _AROUND_TENSORS + 1,)}, 1),
            Reason.ANSWER_LIMIT,
            "outputs",
        ),
    ],
    ids=[
        "message",
        "batch",
        "query_len",
        "kv_len",
        "work",
        "work beyond 64 bits",
        "entries",
        "heads",
        "answer",
    ],
)
def test_one_more_is_refused(check: Callable[[Limits], None], reason: Reason, field: str) -> None:
    with pytest.raises(OverLimit) as refused:
        check(_LIMITS)

    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("name", "item_bytes", "bytes_each"),
    [
        ("weights", 4, 4),
        ("weights", 2, 2),
        ("weight_key_indices", 2, 4),
        ("log_sum_exp", 2, 4),
    ],
)
def test_elements_count_as_they_travel(name: str, item_bytes: int, bytes_each: int) -> None:
    room = (1 << 20) - _AROUND_TENSORS
    _LIMITS.check_answer({name: (room // bytes_each,)}, item_bytes)

    with pytest.raises(OverLimit):
        _LIMITS.check_answer({name: (room // bytes_each + 1,)}, item_bytes)


def test_all_tensors_of_an_answer_count_together() -> None:
    half = (((1 << 20) - _AROUND_TENSORS) // 8,)

    _LIMITS.check_answer({"output": half, "weights": half}, 4)
    with pytest.raises(OverLimit):
        _LIMITS.check_answer({"output": half, "weights": half, "scores": (1,)}, 4)
