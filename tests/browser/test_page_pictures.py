"""What the page of ``to_html`` saves: pictures of heads, lines and steps, as they are shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from attention_client import AttendResult
from tests.browser.opened import (
    SENTENCE,
    SVG,
    Show,
    downloaded,
    number_of_colours,
    picture,
    settle,
    texts,
    viewer,
)


@pytest.mark.parametrize("kind", ["All heads", "One head", "Lines", "Steps"])
def test_the_picture_is_saved_as_svg_and_png(
    show: Show, result: AttendResult, tmp_path: Path, kind: str
) -> None:
    page = show(result.to_html(SENTENCE))
    viewer(page, "lock(2, 11)")
    page.get_by_role("button", name=kind).click()
    settle(page)
    box = picture(page).bounding_box()
    assert box is not None
    words = texts(downloaded(page, "SVG", tmp_path))
    assert set(SENTENCE) <= set("".join(words))
    image = imread(downloaded(page, "PNG", tmp_path))
    assert np.abs(np.array(image.shape[:2]) - [2 * box["height"], 2 * box["width"]]).max() <= 2
    assert number_of_colours(image) > 10


def test_the_svg_draws_each_cell_in_its_colour(
    show: Show, result: AttendResult, tmp_path: Path
) -> None:
    page = show(result.to_html(SENTENCE))
    path = downloaded(page, "SVG", tmp_path)
    assert path.name == "demo-version-1-head-0-map.svg"
    fills = [element.get("fill", "") for element in ET.parse(path).iter(f"{SVG}rect")]  # noqa: S314
    assert (
        sum(fill.startswith("rgb(") for fill in fills) == 12 * 13 / 2
    )  # masked ones show the ground
    assert any(fill.startswith("url(#") for fill in fills)


def test_lines_lead_from_the_chosen_query_in_the_colours_of_the_heads(
    show: Show, result: AttendResult, tmp_path: Path
) -> None:
    page = show(result.to_html(SENTENCE))
    page.get_by_role("button", name="Lines").click()
    page.get_by_role("button", name="head 2").first.click()
    settle(page)
    pressed = [head.get_attribute("aria-pressed") for head in page.locator(".head").all()]
    assert pressed == ["true", "false", "true", "false"]

    def lines() -> list[tuple[str, str, float]]:
        found = ET.parse(downloaded(page, "SVG", tmp_path)).getroot().findall(f"{SVG}path")  # noqa: S314
        return [
            (element.get("stroke", ""), element.get("d", ""), float(element.get("opacity", 0)))
            for element in found
        ]

    free = lines()
    assert {stroke for stroke, _, _ in free} == {"#4e79a7", "#59a14f"}
    viewer(page, "lock(2, 11)")
    locked = lines()
    starts = {d.split("L")[0] for _, path, _ in locked for d in path.split("M") if d}
    assert len(starts) == 1  # all from one token
    note = page.locator(".note").inner_text()
    assert "against the largest of this query" in note
    assert max(opacity for _, _, opacity in locked) == 1
    viewer(page, "lock(2, 10)")  # where the largest is far from 1
    assert max(opacity for _, _, opacity in lines()) == 1
    assert sum(path.count("M") for _, path, _ in free) > 4 * sum(
        path.count("M") for _, path, _ in locked
    )


def test_steps_are_the_scores_the_weights_and_the_weighted_values(
    show: Show, result: AttendResult, tmp_path: Path
) -> None:
    page = show(result.to_html(SENTENCE, steps_for=[-1, 3]))
    viewer(page, "lock(2, 11)")
    page.get_by_role("button", name="Steps").click()
    settle(page)
    words = texts(downloaded(page, "SVG", tmp_path))
    assert words[0] == "head 2 · query 11 玩"
    assert result.scores is not None
    assert result.weights is not None
    assert result.value_heads is not None
    weights, values = result.weights[0, 2, 11], result.value_heads[0, 2]
    lengths = weights * np.linalg.norm(values, axis=1)
    for key, token in enumerate(SENTENCE):
        row = words[4 + 5 * key :][:5]
        assert row[:3] == [token, f"{result.scores[0, 2, 11, key]:.2f}", f"{weights[key]:.3f}"]
        assert float(row[3]) == pytest.approx(lengths[key], abs=6e-4)
    assert sum(float(words[8 + 5 * key].removesuffix(" %")) for key in range(12)) == pytest.approx(
        100, abs=1
    )
    viewer(page, "lock(2, 5)")
    assert page.locator(".note").inner_text() == "Steps are here for: 11, 3"
