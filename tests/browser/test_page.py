"""The page of ``to_html``, in a real browser: it shows what the server returned, to every hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from attention_client import AttendResult, AttentionClient
from attention_client.viz.colours import MASKED, WEIGHT_RAMP, colour_of
from tests.browser.opened import SENTENCE, Show, cells, picture, pixels, settle, viewer


def test_every_cell_is_what_the_server_returned(show: Show, result: AttendResult) -> None:
    page = show(result.to_html(SENTENCE))
    assert result.weights is not None
    assert result.in_sight is not None
    weights = result.weights[0].astype(np.float64)
    found = cells(page, 4, list(range(12)), 12)
    bound = weights.max(axis=-1, keepdims=True) / 510 * (1 + 1e-6)
    assert (np.abs(found[..., 0] - weights) <= bound).all()
    assert (found[..., 1] == ~result.in_sight[0]).all()


def test_a_cell_has_the_colour_of_its_weight_and_is_told_in_words(
    show: Show, result: AttendResult
) -> None:
    page = show(result.to_html(SENTENCE))
    assert result.weights is not None
    weights = result.weights[0, 0]
    plain, box = pixels(page), picture(page).bounding_box()
    assert box is not None
    seen = set()
    for step in range(24):
        row = (5 * step + step // 12) % 12
        x, y = 58 + 44 * (step % 12), 50 + 44 * row  # above the numbers in the cells
        page.mouse.move(box["x"] + x, box["y"] + y)
        cell = viewer(page, "state")["hovered"]
        assert cell is not None
        query, key = cell["query"], cell["key"]
        seen.add((query, key))
        words = page.locator(".readout").inner_text()
        assert f"query {query} {SENTENCE[query]} " in words
        assert f"key {key} {SENTENCE[key]}" in words
        if key > query:
            assert "may not attend to" in words
            continue
        told = float(words.partition("with weight ")[2].partition(",")[0])
        assert abs(told - weights[query, key]) <= weights[query].max() / 510 + 6e-4
        wanted = colour_of(weights[query, key], WEIGHT_RAMP)
        error = plain[y, x].astype(int) - list(bytes.fromhex(wanted[1:]))
        assert np.abs(error).max() <= 4, (query, key, wanted)
    assert len(seen) == 24
    page.mouse.move(0, 0)
    assert viewer(page, "state")["hovered"] is None


def test_masked_cells_are_striped_and_a_weight_of_0_is_not(
    show: Show, client: AttentionClient
) -> None:
    # Of scores 0 and -400 the second weight is exactly 0, though its key is in sight.
    query, key = np.full((1, 1, 1), 20, np.float32), np.array([[[0], [-20], [0]]], np.float32)
    mask = np.array([[True, True, False]])
    result = client.attend(
        "sdpa", query, key, num_heads=1, scale=1.0, attend_mask=mask, weights=True
    )
    assert result.weights is not None
    assert result.weights[0, 0, 0].tolist() == [1, 0, 0]
    page = show(result.to_html("?", "abc"))
    found = cells(page, 1, [0], 3)[0, 0]
    assert found.tolist() == [[1, 0], [0, 0], [0, 1]]
    drawn = pixels(page)
    grounds = [np.array(list(bytes.fromhex(name[1:]))) for name in ("#ffffff", MASKED)]
    row = drawn[-16]  # through the cells, under the numbers
    white, ground = ((row == colour).all(axis=1).sum() for colour in grounds)
    assert white > 40
    assert 10 < ground < 44  # stripes take the rest


def test_a_click_locks_and_every_head_marks_the_row_and_the_column(
    show: Show, result: AttendResult
) -> None:
    page = show(result.to_html(SENTENCE))
    box = picture(page).bounding_box()
    assert box is not None
    before = [pixels(page, f".head:nth-child({head}) canvas") for head in range(1, 5)]
    picture(page).click(position={"x": 200, "y": 300})
    locked = viewer(page, "state")["locked"]
    assert locked is not None
    page.mouse.move(0, 0)
    settle(page)
    assert f"query {locked['query']} " in page.locator(".readout").inner_text()
    for head, plain in enumerate(before, 1):
        marked = (pixels(page, f".head:nth-child({head}) canvas") != plain).any(axis=2)
        rows, columns = (np.flatnonzero(marked.mean(axis=axis) > 0.9) for axis in (1, 0))
        assert 1 <= len(rows) <= 6  # both edges of the row, across all keys
        assert 1 <= len(columns) <= 6
    picture(page).click(position={"x": 200, "y": 300})
    assert viewer(page, "state")["locked"] is None
    assert (pixels(page, ".head:nth-child(1) canvas") == before[0]).all()


def test_keys_move_the_cell_change_the_head_and_unlock(show: Show, result: AttendResult) -> None:
    page = show(result.to_html(SENTENCE))
    page.locator(".picture").focus()
    for key, wanted in [
        ("ArrowDown", (0, {"query": 0, "key": 0})),
        ("ArrowDown", (0, {"query": 1, "key": 0})),
        ("ArrowRight", (0, {"query": 1, "key": 1})),
        ("ArrowUp", (0, {"query": 0, "key": 1})),
        ("ArrowUp", (0, {"query": 0, "key": 1})),
        ("ArrowLeft", (0, {"query": 0, "key": 0})),
        ("]", (1, {"query": 0, "key": 0})),
        ("l", (2, {"query": 0, "key": 0})),
        ("h", (1, {"query": 0, "key": 0})),
        ("[", (0, {"query": 0, "key": 0})),
        ("Escape", (0, None)),
    ]:
        page.keyboard.press(key)
        state = viewer(page, "state")
        assert (state["head"], state["locked"]) == wanted, key
    outline = page.locator(".picture").evaluate(
        "(element) => getComputedStyle(element).outlineStyle"
    )
    assert outline == "solid"


def test_a_head_opens_from_the_picture_of_all(show: Show, result: AttendResult) -> None:
    page = show(result.to_html(SENTENCE))
    page.get_by_role("button", name="All heads").click()
    settle(page)
    box = picture(page).bounding_box()
    assert box is not None
    picture(page).hover(position={"x": box["width"] - 60, "y": 150})
    settle(page)
    assert viewer(page, "state")["hovered"]["head"] == 3
    assert page.locator(".readout").inner_text().startswith("head 3: ")
    picture(page).click(position={"x": box["width"] - 60, "y": 150})
    settle(page)
    assert (viewer(page, "state")["picture"], viewer(page, "state")["head"]) == ("map", 3)
    page.get_by_role("button", name="head 1").first.click()
    assert viewer(page, "state")["head"] == 1


def test_there_are_no_steps_where_none_were_asked_for(show: Show, client: AttentionClient) -> None:
    result = client.attend("sdpa", np.eye(4, dtype=np.float32)[None], num_heads=2, weights=True)
    page = show(result.to_html())
    assert page.get_by_role("button", name="Lines").count() == 1
    assert page.get_by_role("button", name="Steps").count() == 0


def test_it_tells_what_each_head_does(show: Show, result: AttendResult) -> None:
    page = show(result.to_html(SENTENCE))
    for head, found in enumerate(result.head_analysis()):
        row = page.locator("tbody tr").nth(head).inner_text().split("\t")
        assert row[:4] == [
            f"head {head}",
            found.pattern,
            f"{found.entropy:.2f}",
            f"{found.max_weight:.2f}",
        ]
    page.locator("tbody button").nth(3).click()
    assert viewer(page, "state")["head"] == 3


def test_it_is_dark_where_the_system_is_and_the_switch_says_otherwise(
    show: Show, result: AttendResult
) -> None:
    page = show(result.to_html(SENTENCE))
    page.emulate_media(color_scheme="dark")
    settle(page)
    ground = "() => getComputedStyle(document.querySelector('.attention-viewer')).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 28)"
    dark = pixels(page)
    page.get_by_role("button", name="Light/dark").click()  # light
    settle(page)
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    light = pixels(page)
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Light", exact=True).click()  # dark
    settle(page)
    assert page.evaluate(ground) == "rgb(18, 22, 28)"
    assert (pixels(page) == dark).all()
    assert not (light == dark).all()


@pytest.mark.parametrize("kind", ["All heads", "One head", "Lines", "Steps"])
def test_it_can_be_used_400_pixels_wide(show: Show, result: AttendResult, kind: str) -> None:
    page = show(result.to_html(SENTENCE))
    page.set_viewport_size({"width": 400, "height": 800})
    page.get_by_role("button", name=kind).click()
    settle(page)
    assert page.evaluate("document.scrollingElement.scrollWidth") == 400
    box = picture(page).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 400


def test_tokens_are_text_whatever_they_hold(show: Show, client: AttentionClient) -> None:
    shown_as = {
        "</script><script>document.title='hacked'</script>": "</script><scr…",
        "<img src=x onerror=\"document.title='hacked'\">": "<img src=x on…",
        "\"'`${1}&amp;": "\"'`${1}&amp;",
        "a\u2028b\u2029": "a\\u2028b\\u2029",
        "\u202egnp.exe": "\\u202egnp.exe",
        "👩\u200d💻": "👩\u200d💻",
        " the ": "␣the␣",
        "\u200b": "\\u200b",
        "\ud800": "\\ud800",
        "שלום": "שלום",
        "##ing": "##ing",
        "Ġword": "Ġword",
    }
    tokens = list(shown_as)
    x = np.random.default_rng(0).standard_normal((1, len(tokens), 8), np.float32)
    result = client.attend("sdpa", x, num_heads=2, weights=True, scores=True)
    page = show(result.to_html(tokens, title=f"</title>{tokens[0]}"))
    assert page.title() == f"</title>{tokens[0]}"
    assert page.locator("h1").inner_text() == f"</title>{tokens[0]}"
    assert page.locator("img").count() == 0
    for index, wanted in enumerate(shown_as.values()):
        viewer(page, f"lock(0, {index}, {index})")
        assert page.locator(".readout bdi").first.inner_text() == wanted


def test_the_page_may_neither_ask_for_anything_nor_run_other_scripts(
    page: Page, result: AttendResult, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(result.to_html(SENTENCE), encoding="utf-8")
    page.goto(path.as_uri())
    refused = page.evaluate(
        """async () => {
          const refused = [];
          const note = (event) => refused.push(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", note);
          await fetch("http://127.0.0.1:1/").catch(() => {});
          const image = new Image();
          image.src = "http://127.0.0.1:1/x.png";
          const script = document.createElement("script");
          script.textContent = "document.title = 'ran'";
          document.body.append(script);
          const style = document.createElement("style");
          style.textContent = "* { color: red }";
          document.body.append(style);
          await new Promise((done) => setTimeout(done, 100));
          return refused.sort();
        }"""
    )
    assert refused == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert page.title() == "demo, version 1"


def test_queries_and_keys_may_differ_in_number(show: Show, client: AttentionClient) -> None:
    rng = np.random.default_rng(0)
    query = rng.standard_normal((1, 3, 8), np.float32)
    key = rng.standard_normal((1, 20, 8), np.float32)
    result = client.attend("sdpa", query, key, num_heads=2, weights=True)
    assert result.weights is not None
    words = [f"word{index}" for index in range(20)]
    page = show(result.to_html("abc", words))
    found = cells(page, 2, [0, 1, 2], 20)
    assert (np.abs(found[..., 0] - result.weights[0]) <= 1 / 510).all()
    viewer(page, "lock(1, 2, 19)")
    assert "query 2 c looks at key 19 word19" in page.locator(".readout").inner_text()
    for kind in ("All heads", "Lines"):
        page.get_by_role("button", name=kind).click()
        settle(page)


def test_12_heads_over_512_tokens_fit_in_5_megabytes(show: Show, client: AttentionClient) -> None:
    x = np.random.default_rng(0).standard_normal((1, 512, 96), np.float32)
    result = client.attend(
        "sdpa", x, num_heads=12, causal="lower_right", weights=True, scores=True, projections=True
    )
    html = result.to_html([f"token{index}" for index in range(512)], steps_for=[7, -1])
    assert len(html.encode()) < 5_000_000
    page = show(html)
    assert result.weights is not None
    queries = [0, 7, 300, 511]
    weights = result.weights[0][:, queries].astype(np.float64)
    found = cells(page, 12, queries, 512)
    bound = weights.max(axis=-1, keepdims=True) / 510 * (1 + 1e-6)
    assert (np.abs(found[..., 0] - weights) <= bound).all()
    assert (found[0, 2, :, 1] == (np.arange(512) > 300)).all()
    for kind in ("All heads", "Lines", "Steps"):
        page.get_by_role("button", name=kind).click()
        settle(page)


def test_a_notebook_shows_it_in_a_frame_of_its_own(page: Page, result: AttendResult) -> None:
    html = result._repr_html_()
    assert html is not None
    page.set_content(f"<!doctype html><h1>Notebook</h1><button>Run</button>{html}")
    inside = page.frame_locator("iframe")
    inside.get_by_role("button", name="Lines").click()
    assert inside.locator("h1").inner_text() == "demo, version 1"
    assert (
        page.get_by_role("button", name="Run").evaluate("(e) => getComputedStyle(e).cursor")
        == "default"
    )


def test_everything_to_press_has_a_name(show: Show, result: AttendResult) -> None:
    page = show(result.to_html(SENTENCE))
    for role, count in {"button": 4 + 2 + 1 + 4 + 4, "combobox": 1, "application": 1}.items():
        named = page.get_by_role(role, name=re.compile(r"\S"))  # type: ignore[arg-type]
        assert named.count() == page.get_by_role(role).count() == count  # type: ignore[arg-type]
    assert page.get_by_role("application").get_attribute("aria-label") == "One head, head 0"


def test_it_says_what_attention_is_not_and_how_exact_it_is(
    show: Show, result: AttendResult
) -> None:
    words = show(result.to_html(SENTENCE)).locator("footer").inner_text()
    assert "Attention is not explanation" in words
    assert "Jain & Wallace 2019" in words
    assert "Wiegreffe & Pinter 2019" in words
    assert "within 1/510" in words
