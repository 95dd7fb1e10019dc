"""``result.heatmap()``: what is drawn is what was served."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray

from attention_client import AttendResult, AttentionClient, WeightsSpec
from attention_client.viz.colours import MASKED
from tests.integration.programs import PATIENCE_SECONDS, environment
from tests.unit.client.viz.asking import HEADS, SENTENCE, ask


def drawn(figure: Figure) -> list[tuple[Axes, np.ma.MaskedArray[Any, Any]]]:
    """The maps of a figure: their axes, and what is drawn there."""
    return [
        (axis, np.ma.asarray(axis.images[0].get_array())) for axis in figure.axes if axis.images
    ]


def shown(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def values(axis: Axes) -> list[str]:
    return shown(axis.texts)


def pixels(figure: Figure) -> NDArray[np.float32]:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return np.asarray(imread(file))[..., :3]


def test_what_is_drawn_are_the_weights(client: AttentionClient) -> None:
    result = ask(client, 1, 4, 5)

    maps = drawn(result.heatmap(SENTENCE, "我们去公园"))

    assert [axis.get_title() for axis, _ in maps] == ["head 0", "head 1", "head 2"]
    for (axis, cells), weights in zip(maps, result.weights[0], strict=True):
        np.testing.assert_array_equal(cells, weights)
        assert not np.ma.is_masked(cells)
        assert shown(axis.get_yticklabels()) == list(SENTENCE)
        assert shown(axis.get_xticklabels()) == list("我们去公园")
    assert maps[0][0].get_ylabel() == "query"
    assert maps[0][0].get_xlabel() == "key"


def test_all_maps_have_one_scale_from_0_to_1(client: AttentionClient) -> None:
    figure = ask(client, 1, 4).heatmap()

    assert {axis.images[0].get_clim() for axis, _ in drawn(figure)} == {(0, 1)}
    assert figure.axes[-1].get_ylabel() == "attention weight"


def test_the_end_of_the_scale_can_be_chosen(client: AttentionClient) -> None:
    result = ask(client, 1, 9)
    largest = float(result.weights.max())

    fixed, found = result.heatmap(vmax=0.25), result.heatmap(vmax=None)

    assert drawn(fixed)[0][0].images[0].get_clim() == (0, 0.25)
    assert drawn(found)[0][0].images[0].get_clim() == pytest.approx((0, largest))


def test_masked_cells_are_striped_grey_and_not_a_weight(client: AttentionClient) -> None:
    result = ask(client, 1, 4, causal="lower_right", weights=WeightsSpec(heads=[0]))

    figure = result.heatmap()

    ((axis, cells),) = drawn(figure)
    np.testing.assert_array_equal(np.ma.getmaskarray(cells), np.triu(np.ones((4, 4), np.bool_), 1))
    assert axis.patch.get_hatch() == "////"
    picture = pixels(figure)
    height, width, _ = picture.shape
    x, y = axis.transData.transform((3, 0))  # the last key of the first query
    size = 20  # pixels around its middle
    cell = picture[height - int(y) - size : height - int(y) + size, int(x) - size : int(x) + size]
    ground = np.array([int(MASKED[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    at_ground = (np.abs(cell - ground) < 1 / 255).all(axis=-1)
    assert 0.4 < at_ground.mean() < 0.95  # the rest is stripes
    assert width > height


def test_one_head_has_its_values_in_the_cells(client: AttentionClient) -> None:
    result = ask(client, 1, 4, causal="lower_right")

    ((axis, cells),) = drawn(result.heatmap(heads=[1]))

    expected = [f"{weight:.2f}" for weight in cells.compressed()]
    assert values(axis) == expected
    assert len(expected) == 10  # none in a masked cell
    assert axis.get_title() == "sdpa, version 1: head 1"


@pytest.mark.parametrize(
    ("length", "how", "written"),
    [
        (4, {}, False),  # small multiples
        (4, {"values": True}, True),
        (4, {"heads": [0]}, True),
        (4, {"heads": [0], "values": False}, False),
        (60, {"heads": [0]}, False),  # no room
        (60, {"heads": [0], "values": True}, False),
    ],
)
def test_values_stand_where_they_fit(
    client: AttentionClient, length: int, how: Any, written: bool
) -> None:
    maps = drawn(ask(client, 1, length).heatmap(**how))

    assert all(bool(values(axis)) is written for axis, _ in maps)


def test_one_query_is_one_map_with_a_row_a_head(client: AttentionClient) -> None:
    result = ask(client, 1, 4, weights=WeightsSpec(query_indices=[-1]))

    ((axis, cells),) = drawn(result.heatmap(SENTENCE, mean=True))

    assert shown(axis.get_yticklabels()) == ["head 0", "head 1", "head 2", "mean"]
    assert shown(axis.get_xticklabels()) == list(SENTENCE)
    np.testing.assert_array_equal(cells[:HEADS], result.weights[0, :, 0])
    assert axis.get_title() == "sdpa, version 1: query 3, 好"


def test_a_batch_says_which_sequence_is_drawn(client: AttentionClient) -> None:
    figure = ask(client, 2, 4, kv_lengths=[4, 2]).heatmap(batch=1)

    assert "sdpa, version 1, sequence 1" in shown(figure.texts)
    assert drawn(figure)[0][1].shape == (2, 2)


def test_a_title_of_ones_own(client: AttentionClient) -> None:
    assert shown(ask(client, 1, 4).heatmap(title="$x$").texts) == ["$x$"]


def test_long_words_stand_at_the_edges_only(client: AttentionClient) -> None:
    words = ["the", "weather", "is", "nice"]

    maps = drawn(ask(client, 1, 4).heatmap(words, width=20))

    assert [shown(axis.get_yticklabels())[1] for axis, _ in maps] == ["weather", "", ""]


@pytest.mark.parametrize(
    ("queries", "keys"),
    [(200, 0), (512, 0), (2, 300), (300, 2), (1, 300)],
    ids=str,
)
def test_long_sequences_have_few_numbers_and_no_texts(
    client: AttentionClient, queries: int, keys: int
) -> None:
    figure = ask(client, 1, queries, keys).heatmap()

    for axis, _ in drawn(figure):
        assert not values(axis)
        for ticks, length in (
            (axis.get_yticks(), HEADS if queries == 1 else queries),
            (axis.get_xticks(), keys or queries),
        ):
            assert 1 <= len(ticks) <= 12
            assert length < 12 or len({int(step) for step in np.diff(ticks)}) == 1


def test_labels_of_thinned_ticks_are_the_queries_own(client: AttentionClient) -> None:
    chosen = list(range(100, 400))

    ((axis, _),) = drawn(
        ask(client, 1, 400, weights=WeightsSpec(query_indices=chosen, heads=[0])).heatmap()
    )

    for row, label in zip(axis.get_yticks(), shown(axis.get_yticklabels()), strict=True):
        assert label == str(chosen[int(row)])


def test_every_weight_has_a_dot_of_its_own_or_is_among_the_largest_of_a_block(
    client: AttentionClient,
) -> None:
    few, many = ask(client, 1, 512), ask(client, 1, 1100)

    ((_, cells),) = drawn(few.heatmap(heads=[0]))
    np.testing.assert_array_equal(cells, few.weights[0, 0])
    for (_, cells), weights in zip(drawn(many.heatmap()), many.weights[0], strict=True):
        block = -(-1100 // len(cells))
        assert block > 1
        np.testing.assert_array_equal(cells[0, 0], weights[:block, :block].max())
        assert cells.max() == weights.max()


@pytest.mark.parametrize(
    ("queries", "keys"), [(1, 1), (1, 1100), (3, 4), (5, 30), (30, 5), (12, 12), (200, 200)]
)
@pytest.mark.parametrize("width", [6.5, 10])
def test_a_figure_fits_a_page(
    client: AttentionClient, queries: int, keys: int, width: float
) -> None:
    figure = ask(client, 1, queries, keys).heatmap(width=width)

    across, down = figure.get_size_inches()
    assert 1.5 < across <= width + 0.01
    assert 1 < down < width + 0.01
    for axis in figure.axes:
        left, bottom, wide, tall = axis.get_position().bounds
        assert 0 <= left < left + wide <= 1
        assert 0 <= bottom < bottom + tall <= 1


def test_all_labels_lie_inside_the_figure_and_apart(client: AttentionClient) -> None:
    words = ["a", "weather", "internationalization", "玩", "Ġgo", "我们", "x", "y"]

    figure = ask(client, 1, 8).heatmap(words)

    figure.draw_without_rendering()
    box = figure.bbox
    for axis, _ in drawn(figure):
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            extents = [label.get_window_extent() for label in labels if label.get_text()]
            assert all(box.x0 <= one.x0 and one.x1 <= box.x1 for one in extents)
            assert all(box.y0 <= one.y0 and one.y1 <= box.y1 for one in extents)
            assert not any(one.overlaps(other) for one, other in pairwise(extents))


def test_pngs_differ_where_characters_do(client: AttentionClient) -> None:
    result = ask(client, 1, 4)

    one, same, other = (pixels(result.heatmap(text)) for text in (SENTENCE, SENTENCE, "天气不好"))

    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    "token",
    ["玩", "$x$", "é", "ж", "か", "Ġthe", "␣", "⇥", "↵", "ש", "▁a", "<0x0A>", "∀", "$\\nonsense$"],
)
def test_every_character_is_drawn_as_it_stands(client: AttentionClient, token: str) -> None:
    # A character that no font has is a warning of matplotlib's, which here is an error.
    pixels(ask(client, 1, 1).heatmap([token]))


def test_svg_is_valid_and_has_its_characters_as_outlines(
    client: AttentionClient, tmp_path: Path
) -> None:
    path = tmp_path / "heads.svg"

    ask(client, 1, 4).heatmap(SENTENCE).savefig(path)

    root = ET.parse(path).getroot()  # noqa: S314  # ours
    outlines = {e.get("id") for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("id")}
    assert len([name for name in outlines if name and name.startswith("NotoSansSC")]) >= 4
    assert "font-family" not in path.read_text()  # needs no font where it is looked at
    assert all(f"<!-- {character} -->" in path.read_text() for character in SENTENCE)


def test_pdf_has_its_font_inside_and_its_characters_as_text(
    client: AttentionClient, tmp_path: Path
) -> None:
    path = tmp_path / "heads.pdf"

    ask(client, 1, 4).heatmap(SENTENCE).savefig(path)

    document = path.read_bytes()
    assert document.startswith(b"%PDF-")
    assert document.endswith(b"%%EOF\n")
    assert re.search(rb"/BaseFont /[A-Z]{6}\+NotoSansSC-Regular", document)
    streams = re.findall(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", document, re.DOTALL)
    names = b"".join(part for part in map(zlib.decompress, streams) if b"begincmap" in part)
    for character in SENTENCE:
        assert f"<{ord(character):04x}>".encode() in names


def test_png_has_the_size_it_says(client: AttentionClient, tmp_path: Path) -> None:
    figure = ask(client, 1, 4).heatmap()

    figure.savefig(tmp_path / "heads.png")

    height, width, _ = imread(tmp_path / "heads.png").shape
    assert (width, height) == pytest.approx(figure.get_size_inches() * figure.dpi, abs=1.5)


def test_notebooks_show_it_without_pyplot(client: AttentionClient) -> None:
    figure = ask(client, 1, 4).heatmap()

    png, size = figure._repr_png_()

    assert png.startswith(b"\x89PNG")
    assert (size["width"], size["height"]) == pytest.approx(figure.get_size_inches() * 96, abs=1)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"vmax": 0}, "vmax: must be more than 0, not 0"),
        ({"vmax": float("nan")}, "vmax"),
        ({"width": 2}, "width: must be 3 inches or more, not 2"),
    ],
)
def test_a_size_that_cannot_be_meant_is_refused(
    client: AttentionClient, how: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ask(client, 1, 2).heatmap(**how)


@pytest.mark.parametrize("package", ["matplotlib", "pylopdf_fonts_zh_cn"])
def test_without_the_extra_one_line_says_what_to_install(
    client: AttentionClient, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    result = ask(client, 1, 2)
    for name in [name for name in sys.modules if name.startswith("attention_client.viz")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ImportError) as caught:
        result.heatmap()

    assert str(caught.value) == (f"heat maps need {package}: pip install 'attention-service[viz]'")


def test_pictures_cost_nothing_before_they_are_drawn_and_leave_pyplot_alone(
    tmp_path: Path,
) -> None:
    program = """
import sys
import attention_client, attention_client.cli
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"matplotlib", "rich", "pylopdf_fonts_zh_cn"}, loaded
assert not any(name.startswith("attention_client.viz") for name in sys.modules)
import matplotlib
before = matplotlib.rcParams.copy()
from attention_client.viz.figure import draw
from attention_client.viz.maps import Side, WeightMap
import numpy as np
side = Side("key", ("a",), (0,))
draw([WeightMap("", np.ones((1, 1)), np.ones((1, 1), bool), side, side)]).savefig(sys.argv[1])
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "one.png")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_two_results_can_be_drawn_as_one_figure(client: AttentionClient) -> None:
    from attention_client.viz.figure import draw
    from attention_client.viz.maps import maps_of

    results: list[AttendResult] = [ask(client, 1, 4), ask(client, 1, 4, causal="lower_right")]

    figure = draw(
        [each for result in results for each in maps_of(result)],
        across=HEADS,
        row_names=["no mask", "causal mask"],
    )

    assert shown(figure.texts) == ["no mask", "causal mask"]
    positions = [axis.get_position() for axis, _ in drawn(figure)]
    assert len({round(place.y0, 3) for place in positions}) == 2
