"""Weights in the terminal: every column in its place, with colour and without."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from attention_client import AttentionClient, WeightsSpec
from attention_client.viz.maps import WeightMap, maps_of
from attention_client.viz.show import show
from attention_client.viz.small_maps import small_maps
from attention_client.viz.terminal import bar_table, heat_table
from tests.unit.client.viz.asking import SENTENCE, ask

SHADES = "█▓▒░ "


def written(
    maps: Sequence[WeightMap],
    rows: Sequence[int],
    *,
    width: int = 80,
    colours: Literal["truecolor"] | None = None,
) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=colours, force_terminal=bool(colours))
    show(console, maps, rows)
    return file.getvalue().splitlines()


def printed(renderable: Any) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=80).print(renderable)
    return file.getvalue().splitlines()


def test_bars_show_each_weight_and_their_sum(client: AttentionClient) -> None:
    result = ask(client, 1, 4)

    lines = written(maps_of(result, SENTENCE), [2])

    assert lines[0] == "query 2 真 attends to"
    for key, token in enumerate(SENTENCE):
        (line,) = (line for line in lines if line.startswith(f"{key} {token}"))
        numbers = [float(number) for number in re.findall(r"\d\.\d{3}", line)]
        np.testing.assert_allclose(numbers, result.weights[0, :, 2, key], atol=6e-4)
        bars = re.findall(r"[█▏▎▍▌▋▊▉]+", line)
        assert len(bars) == sum(weight >= 1 / 96 for weight in result.weights[0, :, 2, key])
    (sums,) = (line for line in lines if line.startswith("Σ"))
    assert sums.split() == ["Σ", "1.000000", "1.000000", "1.000000"]


def test_small_maps_shade_each_weight(client: AttentionClient) -> None:
    result = ask(client, 1, 4, causal="lower_right")
    maps = maps_of(result, SENTENCE, heads=[1])

    lines = [line.plain for line in small_maps(maps, width=80, colour=False)]

    assert lines[:2] == ["   head 1", f"   {SENTENCE}"]
    assert lines[-1] == "░ from 0.05, ▒ from 0.25, ▓ from 0.5, █ from 0.75   · masked"
    for row, (token, line) in enumerate(zip(SENTENCE, lines[2:6], strict=True)):
        assert line[:2] == f"{token} "
        cells = [line[2 + 2 * key : 4 + 2 * key] for key in range(4)]
        for key, (cell, weight) in enumerate(zip(cells, result.weights[0, 1, row], strict=True)):
            if key > row:
                assert cell == "· "
            else:
                least = (0.75, 0.5, 0.25, 0.05, 0.0)[SHADES.index(cell[0])]
                assert cell[0] == cell[1]
                assert least <= weight
                assert least == 0.75 or weight < (0.05 if least == 0 else max(least, 0.2) + 0.25)


def test_colours_stand_for_weights_where_the_terminal_has_them(client: AttentionClient) -> None:
    maps = maps_of(ask(client, 1, 4), SENTENCE)

    plain, coloured = written(maps, [0]), written(maps, [0], colours="truecolor")

    assert not any("\x1b" in line for line in plain)
    assert any(line.count("\x1b[48;2;") >= 12 for line in coloured)  # 3 heads, 4 keys
    assert not any("░" in line for line in coloured)


def test_every_coloured_cell_is_there_though_it_looks_like_a_space(
    client: AttentionClient,
) -> None:
    maps = maps_of(ask(client, 1, 4), SENTENCE, heads=[0])

    rows = list(small_maps(maps, width=80, colour=True))[2:6]

    assert [row.cell_len for row in rows] == [2 + 1 + 2 * 4] * 4


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize(
    ("queries", "keys", "tokens", "key_tokens"),
    [
        (4, 0, SENTENCE, None),
        (4, 0, ["internationalization", "a", "我们", "\x1b[31m"], None),
        (4, 0, None, None),
        (3, 30, "天气好", ["word"] * 30),
        (30, 3, None, "天气好"),
        (300, 0, None, None),
        (1, 300, "玩", None),
    ],
    ids=["Chinese", "long", "numbers", "wide", "tall", "pooled", "one query"],
)
def test_everything_fits_the_terminal_and_stands_in_line(
    client: AttentionClient, queries: int, keys: int, tokens: Any, key_tokens: Any, width: int
) -> None:
    result = ask(client, 1, queries, keys)

    lines = written(maps_of(result, tokens, key_tokens), [0], width=width)

    assert max(map(cell_len, lines)) <= width
    assert not any("\x1b" in line for line in lines)
    starts = {
        tuple(cell_len(line[: found.start()]) for found in re.finditer(r"\d\.\d{3}(?!\d)", line))
        for line in lines
        if re.search(r" \d\.\d{3}(?!\d)", line) and "from" not in line
    }
    assert len({start[0] for start in starts}) == 1  # numbers under each other


def test_of_many_keys_the_largest_are_shown_and_the_rest_is_summed(
    client: AttentionClient,
) -> None:
    result = ask(client, 1, 60, weights=WeightsSpec(query_indices=[-1]))

    lines = written(maps_of(result), [0])

    (others,) = (line for line in lines if line.startswith("44 others"))
    shown = [int(line.split()[0]) for line in lines if re.match(r"\d+ +\S.*\d\.\d{3}", line)]
    shown = [key for key in shown if key != 44 or "others" not in others]
    most = result.weights[0, :, 0].max(axis=0)
    kept = sorted(np.argsort(-most, kind="stable")[:16].tolist())
    numbers = [float(number) for number in re.findall(r"\d\.\d{3}", others)]
    rest = np.delete(result.weights[0, :, 0], kept, axis=1).sum(axis=1)
    np.testing.assert_allclose(numbers, rest, atol=6e-4)
    assert set(kept) <= {*shown, 44}


def test_of_a_causal_query_no_masked_key_is_among_the_largest(client: AttentionClient) -> None:
    result = ask(client, 1, 60, causal="lower_right")

    lines = written(maps_of(result), [2])

    assert any(line.startswith("57 others") for line in lines)


def test_maps_of_small_weights_have_a_scale_of_their_own(client: AttentionClient) -> None:
    result = ask(client, 1, 40, scale=0.0)  # each weight is 1 / 40

    lines = [line.plain for line in small_maps(maps_of(result), width=80, colour=False)]

    assert lines[-2].startswith("░ from 0.0025, ▒ from 0.0125, ▓ from 0.025, █ from 0.0375")
    assert {cell for line in lines[2:16] for cell in line[3:].split()} == {"▓" * 28}
    assert lines[-1] == "a cell is the largest weight of 3 x 3"


def test_what_is_masked_is_a_dot_but_a_weight_that_got_past_its_mask_is_not() -> None:
    weights = np.array([0.75, 0.0, 0.25])
    masked = np.array([[False, True, False]])

    bars = printed(bar_table("abc", {"head 0": weights}, masked))
    strips = printed(heat_table("abc", [("head 0", weights, np.array([True, False, False]))]))

    (bar,) = (line for line in bars if line.startswith("b"))
    (heat,) = (line for line in strips if line.startswith("head 0"))
    assert bar.split() == ["b", "·"]
    assert heat.split() == ["head", "0", "75", "·", "25"]


def test_a_head_asked_for_twice_is_shown_once(client: AttentionClient) -> None:
    twice, once = (ask(client, 1, 4, weights=WeightsSpec(heads=heads)) for heads in ([1, 1], [1]))

    assert written(maps_of(twice), [0]) == written(maps_of(once), [0])


def test_a_token_is_no_markup() -> None:
    lines = printed(bar_table(["[b]", ":smile:"], {"head 0": np.array([0.5, 0.5])}))

    assert any(line.startswith("[b] ") for line in lines)
    assert any(line.startswith(":smile: ") for line in lines)
