"""The figures of a head: by hand, word for word as the contract's ``HeadAnalysis`` has them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_service.head_measures import HeadMeasures, head_measures
from attention_service.reference import attention, may_attend
from attention_service.v1.attention_pb2 import HeadAnalysis

FIGURES = (
    "entropy",
    "normalized_entropy",
    "max_weight",
    "mean_distance",
    "self_share",
    "previous_share",
    "next_share",
    "first_share",
    "local_share",
)
NEED_A_PLACE = {"mean_distance", "self_share", "previous_share", "next_share", "local_share"}
WIDE = np.array([0.05, 0.1, 0.2, 0.4, 0.15, 0.1])
"""One row of weights over six keys."""


def measure(*rows: Any, places: Any = None, **options: Any) -> HeadMeasures:
    """Returns the figures of one head of one sequence; all is in sight unless told otherwise."""
    weights = np.array(rows, np.float64)[None, None]
    places = np.arange(len(rows)) if places is None else places
    options = {"in_sight": True, "places": [places], **options}
    return head_measures(weights, **options)[0]


def test_figures_have_the_names_that_the_contract_gives_them() -> None:
    measured = set(HeadMeasures.__dataclass_fields__)

    # The strongest pattern is told from the figures; it is none.
    assert measured == {field.name for field in HeadAnalysis.DESCRIPTOR.fields} - {
        "pattern",
        "relation",
    }


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("entropy", -sum(weight * math.log(weight) for weight in WIDE)),
        ("normalized_entropy", -sum(w * math.log(w) for w in WIDE) / math.log(6)),
        ("max_weight", 0.4),
        ("mean_distance", 0.05 * 2 + 0.1 * 1 + 0.4 * 1 + 0.15 * 2 + 0.1 * 3),
        ("self_share", 0.2),
        ("previous_share", 0.1),
        ("next_share", 0.4),
        ("first_share", 0.05),
        ("local_share", 0.9),  # all but the last key
    ],
)
def test_one_row_by_hand(figure: str, expected: float) -> None:
    assert getattr(measure(WIDE, places=[2]), figure) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("row", "entropy", "normalized"),
    [
        ([0.25] * 4, math.log(4), 1.0),
        ([0.0, 1.0, 0.0, 0.0], 0.0, 0.0),
        ([0.5, 0.5, 0.0, 0.0], math.log(2), 0.5),
    ],
    ids=["everything alike", "a single key", "half of the keys"],
)
def test_entropy_goes_from_0_to_the_logarithm_of_the_keys(
    row: list[float], entropy: float, normalized: float
) -> None:
    measured = measure(row)

    assert measured.entropy == pytest.approx(entropy)
    assert measured.normalized_entropy == pytest.approx(normalized)


def test_normalized_entropy_counts_the_keys_in_sight_and_leaves_out_rows_that_see_one() -> None:
    measured = measure(
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.0],  # all alike of the two in sight
        in_sight=[[True, False, False], [True, True, False]],
    )

    assert measured.rows == 2
    assert measured.entropy == pytest.approx(math.log(2) / 2)
    assert measured.normalized_entropy == pytest.approx(1.0)
    assert measure([1.0], in_sight=[[True]]).normalized_entropy is None


def test_figure_about_a_key_is_a_mean_over_the_rows_that_have_it_in_sight() -> None:
    causal = measure(
        [1.0, 0.0, 0.0],
        [0.6, 0.4, 0.0],
        [0.5, 0.3, 0.2],
        in_sight=np.tril(np.ones((3, 3), bool)),
    )

    assert causal.rows == 3
    assert causal.self_share == pytest.approx((1.0 + 0.4 + 0.2) / 3)
    assert causal.previous_share == pytest.approx((0.6 + 0.3) / 2)  # row 0 has none before it
    assert causal.next_share is None  # nobody sees what comes after
    assert causal.first_share == pytest.approx((1.0 + 0.6 + 0.5) / 3)


@pytest.mark.parametrize(
    ("places", "seen"),
    [([0], {"self_share", "next_share"}), ([5], {"self_share", "previous_share"}),
     ([6], {"previous_share"}), ([-1], {"next_share"}), ([9], set())],
)  # fmt: skip
def test_place_at_the_edge_or_beyond_has_no_key_there(places: list[int], seen: set[str]) -> None:
    measured = measure(WIDE, places=places)

    shares = {"self_share", "previous_share", "next_share"}
    assert {name for name in shares if getattr(measured, name) is not None} == seen


def test_row_far_from_all_keys_has_nothing_local() -> None:
    measured = measure(WIDE, places=[9])

    assert measured.local_share == 0.0
    assert measured.mean_distance == pytest.approx(float(WIDE @ (9 - np.arange(6))))


def test_queries_without_a_place_have_no_figures_that_need_one() -> None:
    measured = head_measures(np.full((1, 1, 2, 3), 1 / 3), in_sight=True)[0]

    assert {name for name in FIGURES if getattr(measured, name) is None} == NEED_A_PLACE


def test_first_key_is_the_lowest_that_is_not_padding() -> None:
    rows = [[0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]
    sight = [[False, True, True], [False, False, True]]

    measured = measure(*rows, in_sight=sight, real_keys=[[False, True, True]])

    assert measured.first_share == pytest.approx(0.7)  # the second row does not see it
    assert measure(*rows, in_sight=sight).first_share is None  # key 0, which no row sees


def test_padding_and_rows_that_see_nothing_enter_no_figure() -> None:
    weights = np.array([[[0.9, 0.1], [0.0, 0.0], [0.5, 0.5]], [[0.3, 0.7], [0.2, 0.8], [0, 1]]])
    sight = weights[:, None] > 0.0

    measured = head_measures(
        weights[:, None], in_sight=sight, places=[[0, 1, 2]], query_lengths=[2, 1]
    )[0]

    assert measured.rows == 2  # of sequence 0 row 0, of sequence 1 row 0
    assert measured.max_weight == pytest.approx((0.9 + 0.7) / 2)
    assert measured.self_share == pytest.approx((0.9 + 0.3) / 2)


def test_no_row_gives_no_figure() -> None:
    measured = measure([0.0, 0.0], in_sight=False, relations={"object": [(0, 0, 1)]})

    assert measured.rows == 0
    assert all(getattr(measured, name) is None for name in FIGURES)
    assert measured.relation_shares == {}


def test_relation_share_is_a_mean_over_the_pairs_whose_row_sees_a_key() -> None:
    relations = {
        "object": [(0, 0, 1), (0, 1, 0), (0, 2, 0)],  # row 2 sees nothing
        "subject": [(0, 0, 0)],
        "nobody": [(0, 2, 1)],
        "hidden": [(0, 1, 1)],  # the row sees a key, but not this one
    }
    measured = measure(
        [0.25, 0.75],
        [1.0, 0.0],
        [0.0, 0.0],
        in_sight=[[True, True], [True, False], [False, False]],
        relations=relations,
    )

    expected = {"object": (0.75 + 1.0) / 2, "subject": 0.25, "hidden": 0.0}
    assert measured.relation_shares == pytest.approx(expected)


def test_heads_are_measured_one_by_one_each_with_the_rows_it_sees() -> None:
    weights = np.array([[[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.0, 0.0]]]])

    first, second = head_measures(
        weights, in_sight=weights > 0.0, places=[[0, 1]], relations={"object": [(0, 0, 1)]}
    )

    assert (first.head, first.rows, first.self_share) == (0, 2, 1.0)
    assert (second.head, second.rows, second.self_share) == (1, 1, 0.5)
    assert first.normalized_entropy is None
    assert second.normalized_entropy == pytest.approx(1.0)
    assert (first.relation_shares, second.relation_shares) == ({"object": 0.0}, {"object": 0.5})


def test_places_are_those_of_each_sequence() -> None:
    weights = np.broadcast_to(WIDE, (2, 1, 1, 6))

    measured = head_measures(weights, in_sight=True, places=[[0], [3]])[0]

    assert measured.self_share == pytest.approx((0.05 + 0.4) / 2)


def test_figures_of_a_padded_causal_batch_are_those_of_whole_arrays() -> None:
    """The same figures of real weights, computed by whole arrays rather than by rows."""
    draw = np.random.default_rng(3)
    lengths = [5, 3, 4]
    q, k, v = (draw.standard_normal((3, 2, 5, 8)) for _ in range(3))
    sight = may_attend(batch=3, query_len=5, kv_len=5, kv_lengths=lengths, causal="upper_left")
    w = attention(3 * q, k, v, allowed=sight).weights  # [batch, heads, query_len, kv_len]
    real = (np.arange(5) < np.array(lengths)[:, None])[:, None]  # [batch, 1, query_len]
    distance = np.abs(np.arange(5)[:, None] - np.arange(5))
    log = np.log(np.where(w > 0, w, 1.0))

    def mean(values: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        of_head: NDArray[np.float64] = (values * rows).sum((0, 2)) / rows.sum((0, 2))
        return of_head

    before = real[..., 1:]
    expected = {
        "entropy": mean(-(w * log).sum(-1), real),
        "normalized_entropy": mean(-(w * log).sum(-1)[..., 1:] / np.log(np.arange(2, 6)), before),
        "max_weight": mean(w.max(-1), real),
        "mean_distance": mean((w * distance).sum(-1), real),
        "self_share": mean(w.diagonal(0, 2, 3), real),
        "previous_share": mean(w.diagonal(-1, 2, 3), before),
        "first_share": mean(w[..., 0], real),
        "local_share": mean((w * (distance <= 2)).sum(-1), real),
    }
    measured = head_measures(w, in_sight=sight, places=np.arange(5)[None], query_lengths=lengths)

    assert [head.rows for head in measured] == [12, 12]
    for name, of_heads in expected.items():
        assert [getattr(head, name) for head in measured] == pytest.approx(of_heads), name
