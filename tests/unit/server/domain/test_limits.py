"""What a request may ask for: each limit at its border, named by its reason and its field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from attention_server.domain.errors import LimitExceeded
from attention_server.domain.limits import Limits, answer_shapes
from attention_server.domain.model import SDPA, AttentionSettings
from attention_server.domain.request import Outputs, Rows, Sizes, WeightRows
from attention_service.reasons import Reason

_LIMITS = Limits(message_bytes=1 << 20, batch=4, length=100, work=10_000, stream_bytes=1 << 30)
_AROUND_TENSORS = 4096


@pytest.mark.parametrize(
    "check",
    [
        lambda limits: limits.check_sizes(4, 100, 100),
        lambda limits: limits.check_work(2, 5, 10, 100),
        lambda limits: limits.check_entries("outputs.weights.heads", 100),
        lambda limits: limits.check_heads({"query_heads": (1 << 28,), "key_heads": (1 << 28,)}),
        lambda limits: limits.check_answer({"output": ((1 << 20) - _AROUND_TENSORS,)}, 1),
    ],
    ids=["sizes", "work", "entries", "heads", "answer"],
)
def test_a_limit_itself_is_allowed(check: Callable[[Limits], None]) -> None:
    check(_LIMITS)


@pytest.mark.parametrize(
    ("check", "reason", "field"),
    [
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
            Reason.WORK_LIMIT,
            "",
        ),
        (
            lambda limits: limits.check_answer({"output": ((1 << 20) - _AROUND_TENSORS + 1,)}, 1),
            Reason.ANSWER_LIMIT,
            "outputs",
        ),
    ],
    ids=[
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
    with pytest.raises(LimitExceeded) as refused:
        check(_LIMITS)

    assert refused.value.reason is reason
    assert [violation.field for violation in refused.value.violations] == [field]


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

    with pytest.raises(LimitExceeded):
        _LIMITS.check_answer({name: (room // bytes_each + 1,)}, item_bytes)


def test_all_tensors_of_an_answer_count_together() -> None:
    half = (((1 << 20) - _AROUND_TENSORS) // 8,)

    _LIMITS.check_answer({"output": half, "weights": half}, 4)
    with pytest.raises(LimitExceeded):
        _LIMITS.check_answer({"output": half, "weights": half, "scores": (1,)}, 4)


_SIZES = Sizes(batch=2, query_len=3, kv_len=7, query_dim=20, key_dim=10, value_dim=12)
_SETTINGS = AttentionSettings(num_heads=4, num_kv_heads=2, scale=1.0)
_NOTHING = Outputs(output=False)
_ONE_TWO = np.array([1, 2], np.intp)


@pytest.mark.parametrize(
    ("outputs", "shapes"),
    [
        (_NOTHING, {}),
        (Outputs(), {"output": (2, 3, 24)}),
        (replace(_NOTHING, weights=WeightRows()), {"weights": (2, 4, 3, 7)}),
        (
            replace(_NOTHING, weights=WeightRows(heads=_ONE_TWO, query_indices=_ONE_TWO)),
            {"weights": (2, 2, 2, 7)},
        ),
        (
            replace(_NOTHING, weights=WeightRows(heads=_ONE_TWO, average_heads=True)),
            {"weights": (2, 1, 3, 7)},
        ),
        (
            replace(_NOTHING, weights=WeightRows(top_k=5)),
            {"weights": (2, 4, 3, 5), "weight_key_indices": (2, 4, 3, 5)},
        ),
        (replace(_NOTHING, scores=Rows(query_indices=_ONE_TWO)), {"scores": (2, 4, 2, 7)}),
        (
            replace(_NOTHING, projections=True),
            {
                "query_heads": (2, 4, 3, 5),
                "key_heads": (2, 2, 7, 5),
                "value_heads": (2, 2, 7, 6),
            },
        ),
        (replace(_NOTHING, head_outputs=True), {"head_outputs": (2, 4, 3, 6)}),
        (replace(_NOTHING, log_sum_exp=True), {"log_sum_exp": (2, 4, 3)}),
    ],
    ids=[
        "nothing",
        "output",
        "weights",
        "selected weights",
        "mean weights",
        "largest weights",
        "selected scores",
        "projections",
        "head outputs",
        "log-sum-exp",
    ],
)
def test_shapes_of_an_answer_are_known_beforehand(
    outputs: Outputs, shapes: dict[str, tuple[int, ...]]
) -> None:
    assert answer_shapes(outputs, _SETTINGS, SDPA, _SIZES) == shapes


def test_a_model_s_own_sizes_win() -> None:
    model = replace(SDPA, output_dim=9, head_dim=3, value_head_dim=2)
    everything = Outputs(projections=True, head_outputs=True)

    shapes = answer_shapes(everything, _SETTINGS, model, _SIZES)

    assert shapes["output"] == (2, 3, 9)
    assert shapes["query_heads"] == (2, 4, 3, 3)
    assert shapes["value_heads"] == (2, 2, 7, 2)
    assert shapes["head_outputs"] == (2, 4, 3, 2)
