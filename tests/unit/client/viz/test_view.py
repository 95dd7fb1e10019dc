import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

import attention_client.viz
from attention_client import AttendResult, AttentionClient, WeightsSpec
from attention_client.viz import colours
from attention_client.viz.labels import label
from attention_client.viz.page import page
from attention_client.viz.quantised import bits, quantised
from attention_client.viz.steps import weighted_values
from attention_client.viz.view import view
from attention_server import EmbeddedServer

WEB = Path(attention_client.viz.__file__).parent / "web"


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def read_back(head: dict[str, str], shape: tuple[int, int]) -> np.ndarray:
    codes = np.frombuffer(base64.b64decode(head["weights"]), np.uint8).reshape(shape)
    return codes / 255 * floats(head["largest"]).astype(np.float64)[:, None]


@pytest.fixture(scope="module")
def result() -> AttendResult:
    queries = np.random.default_rng(0).standard_normal((2, 5, 8), np.float32)
    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        return client.attend(
            "sdpa",
            queries,
            num_heads=2,
            kv_lengths=[5, 3],
            causal="lower_right",
            weights=True,
            scores=True,
            projections=True,
        )


@pytest.mark.parametrize("keys", [1, 2, 13, 512, 4096])
def test_weights_are_read_back_within_a_510th_of_their_rows_largest(keys: int) -> None:
    draws = (
        np.random.default_rng(keys).standard_normal((64, keys)) * np.logspace(-1, 2, 64)[:, None]
    )
    exponentials = np.exp(draws - draws.max(axis=1, keepdims=True))
    weights = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
    found = read_back(quantised(weights), weights.shape)
    largest = weights.max(axis=1, keepdims=True)
    assert (np.abs(found - weights) <= largest / 510 * (1 + 1e-6)).all()
    assert (found.max(axis=1) == largest[:, 0]).all()


def test_a_row_that_attends_to_nothing_stays_zero() -> None:
    weights = np.array([[0, 0, 0], [0, 1, 0]], np.float32)
    assert (read_back(quantised(weights), (2, 3)) == weights).all()


def test_bits_start_with_the_lowest() -> None:
    assert base64.b64decode(bits(np.array([1, 0, 1, 0, 0, 0, 0, 0, 1], np.bool_))) == b"\x05\x01"


def test_the_view_says_what_was_asked_for(result: AttendResult) -> None:
    shown = view(result, tokens="abc", batch=1)
    assert shown["title"] == "sdpa, version 1"
    assert shown["facts"] == ["2 heads", "causal", "sequence 1 of 0 to 1"]
    assert shown["queries"] == {"indices": [0, 1, 2], "labels": ["a", "b", "c"]}
    assert [head["name"] for head in shown["heads"]] == ["head 0", "head 1"]
    assert len(shown["sights"]) == 1  # the same for both heads
    assert [step["row"] for step in shown["steps"]] == [0, 1, 2]
    json.dumps(shown, allow_nan=False)


def test_steps_are_those_of_the_result(result: AttendResult) -> None:
    assert result.scores is not None
    assert result.weights is not None
    (step,) = view(result, steps_for=[-1], batch=1)["steps"]
    assert step["row"] == 2
    for head, found in enumerate(step["heads"]):
        assert (floats(found["scores"]) == result.scores[1, head, 2, :3]).all()
        assert (floats(found["weights"]) == result.weights[1, head, 2, :3]).all()
        assert floats(found["shares"]).sum() == pytest.approx(1, abs=1e-6)


def test_weighted_values_add_up_to_the_heads_output() -> None:
    weights, values = np.array([0.25, 0.75, 0]), np.array([[4.0, 0], [0, 4], [9, 9]])
    found = weighted_values(weights, values)  # [1, 0] and [0, 3]
    assert floats(found["lengths"]).tolist() == [1, 3, 0]
    assert floats(found["shares"]) == pytest.approx([0.1, 0.9, 0])
    assert found["output"] == pytest.approx(np.sqrt(10))
    nothing = weighted_values(np.zeros(2), np.ones((2, 3)))
    assert floats(nothing["shares"]).tolist() == [0, 0]


def test_of_long_sequences_only_the_chosen_queries_have_steps() -> None:
    queries = np.random.default_rng(0).standard_normal((1, 300, 8), np.float32)
    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        result = client.attend("sdpa", queries, num_heads=2, weights=True, scores=True)
    assert [step["row"] for step in view(result)["steps"]] == [299]
    assert [step["row"] for step in view(result, steps_for=[7, -2, 7])["steps"]] == [7, 298]


def test_a_query_without_steps_is_refused_by_name(result: AttendResult) -> None:
    with pytest.raises(ValueError, match=r"^steps_for: query 3 is none of those that are shown$"):
        view(result, batch=1, steps_for=[3])


def test_measures_are_those_of_the_sequence_that_is_shown(result: AttendResult) -> None:
    assert result.weights is not None
    for sequence, length in enumerate([5, 3]):
        weights = result.weights[sequence, :, :length, :length].astype(np.float64)
        logs = np.log(weights, where=weights > 0, out=np.zeros_like(weights))
        entropies = -(weights * logs).sum(axis=-1).mean(axis=-1)
        for head, entropy in zip(view(result, batch=sequence)["heads"], entropies, strict=True):
            assert head["measures"]["entropy"] == pytest.approx(entropy, rel=1e-5)


def test_a_mean_over_heads_has_neither_steps_nor_measures() -> None:
    queries = np.random.default_rng(0).standard_normal((1, 4, 8), np.float32)
    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        spec = WeightsSpec(average_heads=True)
        shown = view(client.attend("sdpa", queries, num_heads=2, weights=spec, scores=True))
    assert [head["name"] for head in shown["heads"]] == ["mean"]
    assert shown["steps"] == []
    assert "measures" not in shown["heads"][0]


def test_colours_are_those_of_every_picture() -> None:
    light, dark = re.findall(
        r"const (?:LIGHT|DARK) = \{(.*?)\};", (WEB / "colours.js").read_text(), re.DOTALL
    )
    named = dict(re.findall(r'(\w+): "(#\w+)"', light))
    assert tuple(re.findall(r"#\w{6}", light.split("]")[0])) == colours.WEIGHT_RAMP
    assert tuple(re.findall(r"#\w{6}", dark.split("]")[0])) == colours.WEIGHT_RAMP_DARK
    assert (named["ground"], named["stripe"]) == (colours.MASKED, colours.MASKED_HATCH)
    assert (named["paper"], named["ink"]) == (colours.PAPER, colours.INK)
    assert named["grid"] == colours.GRID


def test_no_text_of_the_caller_ends_an_element(result: AttendResult) -> None:
    hostile = "</script><!--<script>\u2028\ud800"
    text = page(view(result, tokens=[hostile] * 5, title=f"</title>{hostile}"))
    assert text.count("</script>") == 2
    assert text.count("</title>") == 1
    assert "\u2028" not in text
    text.encode()  # no half of a surrogate pair


def test_joiners_stay_where_they_join() -> None:
    assert label("👩\u200d💻") == "👩\u200d💻"
    assert label("\u200d") == "\\u200d"


def test_a_result_without_weights_shows_nothing_in_a_notebook() -> None:
    queries = np.ones((1, 4, 8), np.float32)
    with EmbeddedServer(demo=False) as server, AttentionClient(server.address) as client:
        plain = client.attend("sdpa", queries, num_heads=2)
        largest = client.attend("sdpa", queries, num_heads=2, weights=WeightsSpec(top_k=2))
    assert plain._repr_html_() is None
    assert largest._repr_html_() is None
    with pytest.raises(ValueError, match="weights=True"):
        plain.to_html()
