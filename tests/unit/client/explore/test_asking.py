from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from attention_client import AttentionClient, InvalidRequestError
from attention_client.explore.app import Explorer
from attention_client.explore.serving import serving
from attention_client.explore.texts import open_texts
from tests.unit.client.explore.called import DEMO, SENTENCE, Answer, post

ASK: dict[str, Any] = {"model": "demo", "input": {"text": SENTENCE}, "query": 11}
HALF = "the text has half a character: a surrogate without the other"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model": None}, "model is missing"),
        ({"model": 3}, "model must be of the kind str"),
        ({"model": "other"}, "no model other; list the models to see which there are"),
        ({"input": None}, "input is missing"),
        ({"input": {"text": " \n"}}, "type a text"),
        ({"input": {"text": "天", "role": "keys"}}, "type a second text"),
        ({"input": {"text": "天", "role": "other"}}, "role must be one of none, batch, keys"),
        ({"input": {"text": "天" * 100_001}}, "the text has more than 100,000 characters"),
        ({"input": {"text": "\ud83d"}}, HALF),
        ({"input": {"query": {"upload": "7"}}}, "the file is not kept any more: upload it again"),
        ({"causal": "always"}, "causal must be one of none, upper_left, lower_right"),
        ({"window": [1]}, "window must be two whole numbers, or nothing for no limit"),
        ({"window": [-1, None]}, "window must be two whole numbers, or nothing for no limit"),
        ({"heads": []}, "heads must be whole numbers of 0 or more, 0, 3 say"),
        ({"heads": [4]}, "head 4 is none of 0 to 3"),
        ({"sequence": 1}, "sequence 1 is none of 0 to 0"),
        ({"query": -1}, "query must be 0 or more, not -1"),
        ({"num_heads": True}, "num_heads must be of the kind int"),
        ({"model": "sdpa"}, "sdpa takes any number of heads: say how many"),
        ({"model": "sdpa", "num_heads": -1}, "heads: the page takes 1 to 4,096, not -1"),
        ({"model": "sdpa", "num_heads": 2**31}, "heads: the page takes 1 to 4,096, not 2147483648"),
        ({"num_heads": 3}, None),
        ({"model": "sdpa", "num_heads": 3}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(
    page: str, server: str, changed: dict[str, Any], why: str | None
) -> None:
    answer = post(page, "/api/attend", {**ASK, **changed})

    assert answer.status in (422, 502)
    told = answer.json["error"]
    assert "\n" not in told
    if why is None:  # the server's own words, as the SDK has them
        model = changed.get("model", "demo")
        embedded, _ = open_texts(DEMO).embed(SENTENCE)
        with AttentionClient(server) as client, pytest.raises(InvalidRequestError) as refused:
            client.attend(model, embedded, num_heads=3, weights=True)
        why = str(refused.value)
    assert told == why


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_question_is_refused(page: str, content: bytes) -> None:
    answer = post(page, "/api/attend", content)

    assert answer.status == 422
    assert answer.json["error"] in ("the request must be JSON", "the request must be a JSON object")


def test_a_question_is_bounded(page: str) -> None:
    answer = post(page, "/api/attend", json.dumps({"model": "x" * (1 << 20)}).encode())

    assert (answer.status, answer.json) == (422, {"error": "larger than 1 MiB"})


def shown(answer: Answer) -> tuple[list[str], list[str]]:
    view = answer.json["view"]
    return view["queries"]["labels"], view["keys"]["labels"]


def test_padding_is_left_out_where_it_is_masked(page: str) -> None:
    given = {"text": "天气", "second": "天气真好", "role": "batch"}
    masked = post(page, "/api/attend", {"model": "demo", "input": given})
    unmasked = post(page, "/api/attend", {"model": "demo", "input": given, "padding": False})

    assert shown(masked) == (["天", "气"],) * 2
    assert shown(unmasked) == (["天", "气", "pad", "pad"],) * 2


def test_a_second_text_can_bring_the_keys(page: str) -> None:
    given = {"text": "天气", "second": "好就去玩", "role": "keys"}

    assert shown(post(page, "/api/attend", {"model": "demo", "input": given})) == (
        ["天", "气"],
        ["好", "就", "去", "玩"],
    )


def test_long_texts_show_as_many_heads_as_can_be_drawn(page: str) -> None:
    ask = {**ASK, "input": {"text": "天" * 1_200}, "query": 3}
    answer = post(page, "/api/attend", ask).json

    assert (answer["heads"], answer["num_heads"], answer["steps_for"]) == ([0, 1], 4, [3])
    assert post(page, "/api/attend", {**ask, "heads": [3, 1]}).json["heads"] == [3, 1]
    refused = post(page, "/api/attend", {**ask, "heads": [0, 1, 2]})
    assert refused.json == {"error": "the page draws 2 heads of this size at a time"}
    longer = post(page, "/api/attend", {**ASK, "input": {"text": "天" * 2_100}})
    assert longer.json["error"].startswith("4,410,000 weights a head are more than the page draws")


def test_a_server_that_is_away_is_said_to_be(server: str) -> None:
    explorer = Explorer("127.0.0.1:1", folder=DEMO, texts=open_texts(DEMO), timeout=2)
    with serving(explorer.app()) as page:
        answer = post(page, "/api/attend", ASK)

    assert answer.status == 503
    assert "127.0.0.1:1" in answer.json["error"]


def test_data_holds_what_was_sent_and_what_came_back(page: str, server: str) -> None:
    content = post(page, "/api/data", ASK).content
    embedded, _ = open_texts(DEMO).embed(SENTENCE)
    with AttentionClient(server) as client:
        result = client.attend("demo", embedded, weights=True, scores=True)
    assert result.weights is not None
    assert result.scores is not None

    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["query"], embedded)
        assert np.array_equal(arrays["weights"], result.weights)
        assert np.array_equal(arrays["scores"], result.scores)
        assert list(arrays["tokens"]) == list(SENTENCE)
