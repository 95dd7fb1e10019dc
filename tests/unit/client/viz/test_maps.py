"""What a picture shows of a result, before anything is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attention_client import AttendResult, AttentionClient, WeightsSpec
from attention_client._incoming import Answer
from attention_client.viz.maps import by_head, maps_of, pooled
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.viz.asking import HEADS, SENTENCE, ask


def test_each_head_is_a_map_of_its_weights(client: AttentionClient) -> None:
    result = ask(client, 1, 4, 5)

    maps = maps_of(result)

    assert [each.title for each in maps] == ["head 0", "head 1", "head 2"]
    for head, each in enumerate(maps):
        np.testing.assert_array_equal(each.weights, result.weights[0, head])
        assert each.in_sight.all()
    assert maps[0].rows.labels == ("0", "1", "2", "3")
    assert maps[0].keys.labels == ("0", "1", "2", "3", "4")
    assert (maps[0].rows.name, maps[0].keys.name) == ("query", "key")


def test_padding_is_cut_off(client: AttentionClient) -> None:
    result = ask(client, 2, 4, 5, query_lengths=[4, 2], kv_lengths=[5, 3])

    (first, *_) = maps_of(result, batch=1)

    np.testing.assert_array_equal(first.weights, result.weights[1, 0, :2, :3])
    assert first.in_sight.all()


@pytest.mark.parametrize(
    "how",
    [
        {"causal": "lower_right"},
        {"window": (1, 0)},
        {"attend_mask": np.array([[True, False, True, True]] * 4)},
        {"attn_bias": np.where(np.eye(4) == 1, -np.inf, 0).astype(np.float32)},
    ],
    ids=["causal", "window", "mask", "bias"],
)
def test_what_may_not_be_attended_to_is_masked(client: AttentionClient, how: Any) -> None:
    result = ask(client, 1, 4, **how)

    for each, seen in zip(maps_of(result), result.in_sight[0], strict=True):
        np.testing.assert_array_equal(each.masked, ~seen)
        assert each.masked.any()


def test_a_weight_that_got_past_its_mask_is_not_hidden(client: AttentionClient) -> None:
    result = ask(client, 1, 4, causal="lower_right")
    (first, *_) = maps_of(result)

    first.weights[0, 3] = 0.25

    assert not first.masked[0, 3]
    assert first.masked[0, 2]


def test_only_selected_heads_and_queries_are_there_by_their_numbers(
    client: AttentionClient,
) -> None:
    result = ask(client, 1, 4, weights=WeightsSpec(heads=[2, 0], query_indices=[-1, 1]))

    maps = maps_of(result, SENTENCE)

    assert [each.title for each in maps] == ["head 2", "head 0"]
    assert maps[0].rows.labels == ("好", "气")
    assert maps[0].rows.places == (3, 1)
    np.testing.assert_array_equal(maps[1].weights, result.weights[0, 1])


def test_heads_and_queries_are_chosen_by_their_numbers(client: AttentionClient) -> None:
    result = ask(client, 1, 4, weights=WeightsSpec(heads=[2, 0], query_indices=[3, 1, 0]))

    (only,) = maps_of(result, heads=[0], queries=[-1, 1])

    assert only.title == "head 0"
    np.testing.assert_array_equal(only.weights, result.weights[0, 1, [0, 1]])


def test_the_mean_is_that_of_the_heads_drawn(client: AttentionClient) -> None:
    result = ask(client, 1, 4)

    maps = maps_of(result, heads=[0, 2], mean=True)

    assert [each.title for each in maps] == ["head 0", "head 2", "mean"]
    np.testing.assert_allclose(maps[-1].weights, result.weights[0, [0, 2]].mean(axis=0), atol=1e-7)


@pytest.mark.parametrize(
    ("spec", "title"),
    [
        (WeightsSpec(average_heads=True), "mean"),
        (WeightsSpec(average_heads=True, heads=[0, 2]), "mean of heads 0, 2"),
    ],
)
def test_weights_that_are_a_mean_say_so(
    client: AttentionClient, spec: WeightsSpec, title: str
) -> None:
    (only,) = maps_of(ask(client, 1, 4, weights=spec))

    assert only.title == title


def test_one_query_is_a_map_with_a_row_a_head(client: AttentionClient) -> None:
    result = ask(client, 1, 4)

    row = by_head(maps_of(result, SENTENCE), 3)

    assert row.title == "query 3, 好"
    assert row.rows.labels == ("head 0", "head 1", "head 2")
    assert row.keys.labels == tuple(SENTENCE)
    np.testing.assert_array_equal(row.weights, result.weights[0, :, 3])


@pytest.mark.parametrize(
    "tokens",
    [
        SENTENCE,
        [*SENTENCE],
        [*SENTENCE, "", ""],  # padding is passed over
        ["我们去公园散"[:6], SENTENCE],
        [[*"我们去公园散"], [*SENTENCE]],
    ],
    ids=["text", "list", "padded", "texts", "lists"],
)
def test_tokens_are_the_sequence_s_own(client: AttentionClient, tokens: Any) -> None:
    result = ask(client, 2, 6, kv_lengths=[6, 4])

    (first, *_) = maps_of(result, tokens, batch=1)

    assert first.rows.labels == first.keys.labels == tuple(SENTENCE)


def test_keys_that_are_no_queries_have_their_own_tokens(client: AttentionClient) -> None:
    result = ask(client, 1, 4, 4)

    (queries, *_), (both, *_) = maps_of(result, SENTENCE), maps_of(result, SENTENCE, "我们去玩")

    assert queries.keys.labels == ("0", "1", "2", "3")
    assert both.keys.labels == tuple("我们去玩")


@pytest.mark.parametrize(
    ("ours", "how", "says"),
    [
        ({"weights": False}, {}, "weights=True"),
        ({"weights": WeightsSpec(top_k=2)}, {}, "top_k leaves weights out"),
        ({}, {"batch": 2}, "batch: must be 0, 1, not 2"),
        ({}, {"batch": -1}, "batch: must be 0, 1, not -1"),
        ({}, {"heads": [3]}, "heads: no weights of head 3; there are 0 to 2"),
        ({}, {"heads": []}, "heads: name one at least"),
        ({"weights": WeightsSpec(average_heads=True)}, {"heads": [0]}, "heads: these weights are"),
        ({}, {"queries": [4]}, "queries: no weights of query 4; there are 0 to 3"),
        ({}, {"queries": []}, "queries: name one at least"),
        ({"weights": WeightsSpec(query_indices=[3])}, {"queries": [0]}, "there are 3"),
        ({"kv_lengths": [4, 2]}, {"batch": 1, "queries": [2]}, "there are 0, 1"),
        (
            {"kv_lengths": [4, 2], "weights": WeightsSpec(query_indices=[3])},
            {"batch": 1},
            "batch: all queries",
        ),
        ({"kv_lengths": [4, 0], "query_lengths": [4, 4]}, {"batch": 1}, "batch: all keys"),
        ({}, {"tokens": "abc"}, "tokens: must be 4, one for each place, not 3"),
        ({}, {"tokens": [["a"] * 4] * 3}, "tokens: must be 2 lists, not 3"),
        ({}, {"tokens": [1, 2, 3, 4]}, "tokens: must be"),
        ({}, {"tokens": [[1, 2, 3, 4]] * 2}, "tokens: must be strings"),
        ({}, {"tokens": "abcd", "key_tokens": "abc"}, "key_tokens: must be 4"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(
    client: AttentionClient, ours: Any, how: Any, says: str
) -> None:
    result = ask(client, 2, 4, **ours)

    with pytest.raises(ValueError, match=says) as caught:
        maps_of(result, **how)

    assert "\n" not in str(caught.value)


def test_a_result_whose_call_is_not_known_is_drawn_as_it_stands() -> None:
    weights = np.full((1, 2, 3, 3), 1 / 3, np.float16)
    result = AttendResult.from_answer(Answer(pb.AttendResponse(weights=encode(weights))))

    maps = maps_of(result, "天气好")

    assert [each.title for each in maps] == ["head 0", "head 1"]
    assert maps[0].keys.labels == tuple("天气好")
    assert maps[0].weights.dtype == np.float32
    assert not maps[0].masked.any()


def test_pooling_keeps_the_largest_weight_and_masks_what_is_masked_altogether() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    masked = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [1, 0, 0, 0]], np.bool_)

    largest, hidden = pooled(weights, masked, 2, 2)

    np.testing.assert_array_equal(largest, [[5, 7], [9, 11]])
    np.testing.assert_array_equal(hidden, [[True, False], [False, False]])


def test_every_head_of_the_layer_is_drawn(client: AttentionClient) -> None:
    assert len(maps_of(ask(client, 1, 2))) == HEADS
