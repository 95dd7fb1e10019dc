"""The oracle's rules of sight against the contract's text, each rule drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attention_service.reference import may_attend

# Rows are queries, columns are keys, # is "may attend".
_RULES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "without a mask every query sees every key": (
        {"query_len": 2, "kv_len": 3},
        ["###", "###"],
    ),
    "keys from kv_length on are padding": (
        {"query_len": 2, "kv_len": 3, "kv_lengths": [2]},
        ["##.", "##."],
    ),
    "a kv_length of 0 leaves nothing": (
        {"query_len": 1, "kv_len": 3, "kv_lengths": [0]},
        ["..."],
    ),
    "key_mask pads by position": (
        {"query_len": 2, "kv_len": 3, "key_mask": [[True, False, True]]},
        ["#.#", "#.#"],
    ),
    "attend_mask says it pair by pair": (
        {"query_len": 2, "kv_len": 2, "attend_mask": [[True, False], [False, True]]},
        ["#.", ".#"],
    ),
    "all masks apply together": (
        {
            "query_len": 2,
            "kv_len": 4,
            "kv_lengths": [3],
            "key_mask": [[False, True, True, True]],
            "attend_mask": [[True, True, True, True], [True, True, False, True]],
        },
        [".##.", ".#.."],
    ),
    "upper_left: the first query's place is 0": (
        {"query_len": 2, "kv_len": 4, "causal": "upper_left"},
        ["#...", "##.."],
    ),
    "upper_left ignores the lengths": (
        {
            "query_len": 3,
            "kv_len": 4,
            "kv_lengths": [4],
            "query_lengths": [2],
            "causal": "upper_left",
        },
        ["#...", "##..", "###."],
    ),
    "lower_right: the last query's place is the last key": (
        {"query_len": 2, "kv_len": 4, "causal": "lower_right"},
        ["###.", "####"],
    ),
    "lower_right: the last real query's place is the last real key": (
        {
            "query_len": 3,
            "kv_len": 5,
            "kv_lengths": [3],
            "query_lengths": [2],
            "causal": "lower_right",
        },
        ["##...", "###..", "###.."],  # the third query is padding, one place further
    ),
    "lower_right with more queries than keys: the first see nothing": (
        {"query_len": 3, "kv_len": 2, "causal": "lower_right"},
        ["..", "#.", "##"],
    ),
    "an offset is the first query's place": (
        {"query_len": 2, "kv_len": 4, "query_offsets": [1], "causal": "upper_left"},
        ["##..", "###."],
    ),
    "with an offset lower_right says only that it is causal": (
        {"query_len": 2, "kv_len": 4, "query_offsets": [1], "causal": "lower_right"},
        ["##..", "###."],
    ),
    "an offset alone limits nothing": (
        {"query_len": 2, "kv_len": 4, "query_offsets": [1]},
        ["####", "####"],
    ),
    "a window limits the keys before the place": (
        {"query_len": 4, "kv_len": 4, "window": (1, None)},
        ["####", "####", ".###", "..##"],
    ),
    "a window limits the keys after the place": (
        {"query_len": 4, "kv_len": 4, "window": (None, 1)},
        ["##..", "###.", "####", "####"],
    ),
    "a window of (0, 0) leaves the place itself": (
        {"query_len": 3, "kv_len": 3, "window": (0, 0)},
        ["#..", ".#.", "..#"],
    ),
    "a causal window sees nothing after the place": (
        {"query_len": 3, "kv_len": 3, "window": (1, 1), "causal": "upper_left"},
        ["#..", "##.", ".##"],
    ),
    "a window counts from the place that lower_right gives": (
        {"query_len": 2, "kv_len": 4, "window": (1, None), "causal": "lower_right"},
        [".##.", "..##"],
    ),
    "a window counts from the place that the offset gives": (
        {"query_len": 2, "kv_len": 4, "query_offsets": [2], "window": (1, 0)},
        [".##.", "..##"],
    ),
    "beyond all keys a window sees nothing": (
        {"query_len": 1, "kv_len": 3, "query_offsets": [9], "window": (2, None)},
        ["..."],
    ),
}


def _drawn(allowed: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    return ["".join(".#"[int(pair)] for pair in row) for row in allowed]


@pytest.mark.parametrize(("arguments", "picture"), list(_RULES.values()), ids=list(_RULES))
def test_rule(arguments: dict[str, Any], picture: list[str]) -> None:
    assert _drawn(may_attend(batch=1, **arguments)[0, 0]) == picture


def test_each_sequence_has_its_own_lengths_offsets_and_key_mask() -> None:
    allowed = may_attend(
        batch=2,
        query_len=2,
        kv_len=4,
        kv_lengths=[3, 4],
        query_offsets=[0, 2],
        key_mask=[[True] * 4, [False, True, True, True]],
        causal="upper_left",
    )

    assert _drawn(allowed[0, 0]) == ["#...", "##.."]
    assert _drawn(allowed[1, 0]) == [".##.", ".###"]


@pytest.mark.parametrize(
    "shape",
    [(3, 4), (2, 3, 4), (2, 5, 3, 4), (1, 5, 3, 4), (2, 1, 3, 4), (2, 5, 1, 4), (1, 1, 1, 4)],
    ids=str,
)
def test_attend_mask_broadcasts_where_it_is_1_and_over_what_it_leaves_out(
    shape: tuple[int, ...],
) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    with_all_dimensions = {2: mask[None, None], 3: mask[:, None] if mask.ndim == 3 else mask}.get(
        mask.ndim, mask
    )

    allowed = may_attend(batch=2, query_len=3, kv_len=4, attend_mask=mask)

    full = (2, 5, 3, 4)
    assert np.array_equal(
        np.broadcast_to(allowed, full), np.broadcast_to(with_all_dimensions, full)
    )
