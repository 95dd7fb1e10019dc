"""The page to explore attention, in a real browser, with a real server behind it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

import examples.demo
from attention_client.explore.app import Example, Explorer
from attention_client.explore.serving import serving
from attention_client.explore.texts import open_texts
from attention_server import EmbeddedServer
from tests.browser.explored import Behind, check_shown, settled, tokens

DEMO = Path(examples.demo.__path__[0])
SENTENCE = "今天天气真好，我想出去玩"
OTHER = "我们去公园散步吧"


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    texts = open_texts(DEMO)
    with EmbeddedServer() as server:
        explorer = Explorer(
            server.address,
            folder=DEMO,
            texts=texts,
            example=Example(SENTENCE, SENTENCE.index("玩")),
        )
        with serving(explorer.app()) as address:
            yield Behind(address, server, texts)


@pytest.fixture
def explore(page: Page, behind: Behind) -> Iterator[Page]:
    """The page, once its first picture is there; that nothing is complained about is checked."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refusal is an answer with an error's status, which the browser writes down as well.
        if message.type == "error" and "status of 422" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.goto(behind.address)
    expect(tokens(page)).to_have_text(list(SENTENCE))
    yield page
    assert not complaints


def test_page_opens_with_the_sentence_and_its_last_character(explore: Page, behind: Behind) -> None:
    result = behind.attend(SENTENCE)

    expect(explore.locator("#text")).to_have_value(SENTENCE)
    chosen = explore.locator("#tokens [aria-checked=true]")
    expect(chosen).to_have_text("玩")
    check_shown(explore, result)
    assert result.weights is not None
    weight = result.weights[0, 0, -1].max()
    expect(explore.locator(".readout strong")).to_have_text(f"{weight:.3f}")


def test_text_that_is_typed_is_looked_at(explore: Page, behind: Behind) -> None:
    explore.locator("#text").fill(OTHER)

    expect(tokens(explore)).to_have_text(list(OTHER))
    check_shown(explore, behind.attend(OTHER))


def test_token_that_is_chosen_is_looked_from(explore: Page, behind: Behind) -> None:
    weights = behind.attend(SENTENCE).weights
    assert weights is not None
    tokens(explore).nth(3).click()
    expect(explore.locator(".readout strong")).to_have_text(f"{weights[0, 0, 3].max():.3f}")

    explore.keyboard.press("ArrowRight")
    expect(tokens(explore).nth(4)).to_be_focused()
    expect(tokens(explore).nth(4)).to_have_attribute("aria-checked", "true")
    expect(explore.locator(".readout strong")).to_have_text(f"{weights[0, 0, 4].max():.3f}")
    explore.keyboard.press("End")
    expect(tokens(explore).last).to_be_focused()

    # The picture's own choice is the token's too.
    explore.locator(".picture").focus()
    explore.keyboard.press("ArrowUp")
    expect(tokens(explore).nth(len(SENTENCE) - 2)).to_have_attribute("aria-checked", "true")


def test_steps_of_the_chosen_token_are_there(explore: Page) -> None:
    explore.get_by_role("button", name="Steps").click()
    state = explore.evaluate("attentionViewers[0].state")
    assert (state["picture"], state["locked"]["query"]) == ("steps", len(SENTENCE) - 1)


def test_masks_are_the_servers(explore: Page, behind: Behind) -> None:
    explore.select_option("#causal", "lower_right")
    check_shown(explore, behind.attend(SENTENCE, causal="lower_right"))

    explore.select_option("#window", "some")
    explore.locator("#left").fill("3")
    explore.locator("#right").fill("")
    explore.keyboard.press("Enter")
    check_shown(explore, behind.attend(SENTENCE, causal="lower_right", window=(3, None)))


def test_two_texts_are_a_padded_batch(explore: Page, behind: Behind) -> None:
    explore.select_option("#role", "batch")
    explore.locator("#second").fill(OTHER)
    explore.select_option("#sequence", "1")
    expect(tokens(explore)).to_have_text(list(OTHER))
    check_shown(explore, behind.attend(SENTENCE, OTHER), sequence=1, end=len(OTHER))

    explore.locator("#padding").uncheck()
    expect(tokens(explore)).to_have_text([*OTHER, *["pad"] * (len(SENTENCE) - len(OTHER))])
    check_shown(explore, behind.attend(SENTENCE, OTHER, kv_lengths=None), sequence=1)


def test_second_text_brings_the_keys(explore: Page, behind: Behind) -> None:
    explore.select_option("#role", "keys")
    explore.locator("#second").fill(OTHER)
    explore.get_by_role("button", name="Look", exact=True).click()
    key, _ = behind.texts.embed(OTHER)
    settled(explore)

    check_shown(explore, behind.attend(SENTENCE, key=key))


def test_heads_are_set_and_chosen(explore: Page, behind: Behind) -> None:
    explore.select_option("#model", label="sdpa")
    explore.locator("#num-heads").fill("8")
    explore.keyboard.press("Enter")
    expect(explore.locator(".head")).to_have_count(8)
    check_shown(explore, behind.attend(SENTENCE, model="sdpa", num_heads=8))

    explore.locator("#heads").fill("5, 2")
    explore.keyboard.press("Enter")
    expect(explore.locator(".head")).to_have_count(2)
    expect(explore.locator(".head").first).to_contain_text("head 5")


def test_masked_and_unmasked_stand_side_by_side(explore: Page, behind: Behind) -> None:
    explore.select_option("#compare", "unmasked")

    expect(explore.locator("#views h2")).to_have_text(["Masked", "Unmasked"])
    expect(explore.locator("#causal")).to_have_value("lower_right")
    check_shown(explore, behind.attend(SENTENCE, causal="lower_right"), viewer=0)
    check_shown(explore, behind.attend(SENTENCE), viewer=1)
    # One follows the other, and a colour means the same in both.
    explore.locator(".picture").first.focus()
    explore.keyboard.press("ArrowUp")
    states = explore.evaluate("attentionViewers.map((viewer) => viewer.state)")
    assert states[0]["locked"] == states[1]["locked"]
    left, right = explore.locator(".legend").all_inner_texts()
    assert left == right


def test_two_models_stand_side_by_side(explore: Page, behind: Behind) -> None:
    explore.select_option("#compare", "model")

    expect(explore.locator("#views h2")).to_have_text(["demo", "sdpa"])
    check_shown(explore, behind.attend(SENTENCE), viewer=0)
    check_shown(explore, behind.attend(SENTENCE, model="sdpa", num_heads=4), viewer=1)


def test_two_heads_stand_side_by_side(explore: Page, behind: Behind) -> None:
    explore.select_option("#compare", "heads")
    explore.select_option("#right-head", "3")
    weights = behind.attend(SENTENCE).weights
    assert weights is not None

    expect(explore.locator("#views h2")).to_have_text(["head 0", "head 3"])
    expect(explore.locator(".head:visible")).to_have_count(0)  # nothing to choose in one head
    readouts = explore.locator(".readout strong")
    expect(readouts).to_have_text([f"{weights[0, head, -1].max():.3f}" for head in (0, 3)])


def test_arrays_are_uploaded(explore: Page, behind: Behind, tmp_path: Path) -> None:
    query, _ = behind.texts.embed(OTHER)
    key, _ = behind.texts.embed(SENTENCE)
    np.savez(tmp_path / "a.npz", query=query, key=key)
    np.save(tmp_path / "value.npy", key[0] * 2)
    explore.get_by_text("Arrays").click()
    expect(explore.locator("#notice")).to_have_text("Choose a file with embeddings.")
    explore.set_input_files("#files", [tmp_path / "a.npz", tmp_path / "value.npy"])

    expect(tokens(explore)).to_have_text(list(map(str, range(len(OTHER)))))
    for name, label in (("query", "a.npz: query"), ("key", "a.npz: key"), ("value", "value.npy")):
        chosen = explore.locator(f"#{name} option:checked")
        expect(chosen).to_contain_text(label)
    check_shown(explore, behind.attend(OTHER, key=key, value=key * 2))


def test_file_of_something_else_is_refused(explore: Page, tmp_path: Path) -> None:
    explore.get_by_text("Arrays").click()
    (tmp_path / "words.npy").write_text("words")
    explore.set_input_files("#files", tmp_path / "words.npy")

    expect(explore.locator("#error-text")).to_have_text(
        "words.npy: no .npy or .npz file of numbers"
    )


def test_data_are_downloaded(explore: Page, behind: Behind, tmp_path: Path) -> None:
    explore.select_option("#causal", "lower_right")
    settled(explore)
    with explore.expect_download() as download:
        explore.get_by_role("button", name="Data as .npz").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)

    assert path.name == "attention.npz"
    with np.load(path, allow_pickle=False) as arrays:
        result = behind.attend(SENTENCE, causal="lower_right")
        np.testing.assert_array_equal(arrays["weights"], result.weights)


def test_code_is_shown_saved_and_makes_the_same_call(
    explore: Page, behind: Behind, tmp_path: Path
) -> None:
    explore.select_option("#causal", "lower_right")
    settled(explore)
    explore.get_by_role("button", name="Python for this").click()
    expect(explore.locator("#code-text")).to_contain_text('causal="lower_right"')
    with explore.expect_download() as download:
        explore.get_by_role("button", name="Save as attention.py").click()
    download.value.save_as(tmp_path / "attention.py")

    found = runpy.run_path(str(tmp_path / "attention.py"))["result"]
    result = behind.attend(SENTENCE, causal="lower_right")
    np.testing.assert_array_equal(found.weights, result.weights)


@pytest.mark.parametrize(("kind", "begins"), [("SVG", b"<svg"), ("PNG", b"\x89PNG")])
def test_pictures_are_downloaded(explore: Page, tmp_path: Path, kind: str, begins: bytes) -> None:
    with explore.expect_download() as download:
        explore.get_by_role("button", name=kind).click()
    download.value.save_as(tmp_path / "picture")

    assert begins in (tmp_path / "picture").read_bytes()[:200]


def test_what_the_server_refuses_is_said(explore: Page, behind: Behind) -> None:
    explore.select_option("#model", label="sdpa")
    explore.locator("#num-heads").fill("3")
    explore.keyboard.press("Enter")

    error = explore.locator("#error")
    expect(error).to_be_visible()
    expect(explore.locator("#error-text")).to_contain_text("256")
    expect(explore.locator("#views")).to_have_class(re.compile("stale"))
    explore.locator("#num-heads").fill("2")
    explore.keyboard.press("Enter")
    expect(error).to_be_hidden()
    check_shown(explore, behind.attend(SENTENCE, model="sdpa", num_heads=2))


def test_empty_text_asks_for_one(explore: Page) -> None:
    explore.locator("#text").fill("  ")

    expect(explore.locator("#notice")).to_have_text("Type a text to look at.")


def test_server_that_went_away_is_said_to_have_and_found_again(page: Page) -> None:
    texts = open_texts(DEMO)
    server = EmbeddedServer()
    with server:
        port = server.address.rpartition(":")[2]
        explorer = Explorer(server.address, folder=DEMO, texts=texts)
        with serving(explorer.app()) as address:
            page.goto(address)
            page.locator("#text").fill(OTHER)
            expect(tokens(page)).to_have_text(list(OTHER))
            server.close()
            away = f"127.0.0.1:{port} does not answer"
            page.get_by_role("button", name="Look", exact=True).click()
            expect(page.locator("#error-text")).to_contain_text(f"127.0.0.1:{port}", timeout=30_000)
            expect(page.locator("#server")).to_have_text(away)
            for _ in range(2):  # gRPC waits longer after each
                page.get_by_role("button", name="Try again").click()
                expect(page.locator("#error")).to_be_visible(timeout=30_000)
            with EmbeddedServer(listen=f"127.0.0.1:{port}"):
                page.get_by_role("button", name="Try again").click()
                expect(page.locator("#server")).to_have_text(f"127.0.0.1:{port}", timeout=30_000)
                settled(page)
                expect(page.locator("#error")).to_be_hidden()


def test_long_work_has_a_clock_and_can_be_cancelled(explore: Page) -> None:
    explore.route("**/api/attend", lambda route: None)  # never answered
    explore.get_by_role("button", name="Look", exact=True).click()

    expect(explore.locator("#clock")).to_have_text(re.compile(r"^[1-9]\.\d s$"))
    explore.get_by_role("button", name="Cancel").click()
    expect(explore.locator("#progress")).to_be_hidden()
    expect(explore.locator("#notice")).to_contain_text("Cancelled")
    explore.unroute("**/api/attend")


def test_all_controls_have_names_and_are_reached_by_keys(explore: Page) -> None:
    nameless = explore.evaluate(
        """() => [...document.querySelectorAll("#form input, #form select, #form textarea")]
          .filter((field) => field.labels.length === 0).map((field) => field.id)"""
    )
    assert nameless == []
    explore.locator("#model").focus()
    reached = []
    for _ in range(10):
        reached.append(explore.evaluate("document.activeElement.id || document.activeElement.name"))
        explore.keyboard.press("Tab")
    assert reached == [
        "model", "kind", "text", "role", "causal", "window", "heads", "compare", "look", "",
    ]  # fmt: skip
    explore.locator("#text").fill(OTHER)
    explore.keyboard.press("Control+Enter")
    expect(tokens(explore)).to_have_text(list(OTHER))


def test_page_says_what_attention_is_not(explore: Page) -> None:
    foot = explore.locator("body > footer")

    expect(foot).to_contain_text("Attention is not explanation.")
    expect(foot.get_by_role("link")).to_have_text([re.compile("2019"), re.compile("2019")])


@pytest.mark.parametrize("comparison", ["", "unmasked"])
def test_page_fits_a_narrow_screen(explore: Page, comparison: str) -> None:
    explore.set_viewport_size({"width": 400, "height": 800})
    explore.select_option("#compare", comparison)
    settled(explore)

    width = explore.evaluate("document.documentElement.scrollWidth")
    assert width <= 400


def test_colours_can_be_chosen(explore: Page) -> None:
    def ground() -> Any:
        return explore.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    explore.select_option("#theme", "dark")
    dark = ground()
    assert dark != light
    assert explore.locator(".attention-viewer").get_attribute("data-theme") == "dark"
    explore.emulate_media(color_scheme="dark")
    explore.select_option("#theme", "light")
    assert ground() == light
