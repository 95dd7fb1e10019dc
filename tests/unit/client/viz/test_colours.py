from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from attention_client.viz.colours import (
    INK,
    MASKED,
    PAPER,
    WEIGHT_RAMP,
    WEIGHT_RAMP_DARK,
    colour_of,
    ink_on,
)
from attention_client.viz.figure import WEIGHT_COLOURS


def luminance(colour: str) -> float:
    parts = np.array(to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("ramp", [WEIGHT_RAMP, WEIGHT_RAMP_DARK], ids=["light", "dark"])
def test_more_weight_is_ever_further_from_the_ground(ramp: tuple[str, ...]) -> None:
    steps = np.diff([luminance(colour_of(share, ramp)) for share in np.linspace(0, 1, 101)])

    assert (steps < 0).all() or (steps > 0).all()


def test_weight_0_is_white_and_no_weight_looks_masked() -> None:
    assert colour_of(0) == PAPER
    masked = np.array(to_rgb(MASKED))
    nearest = min(
        np.abs(np.array(to_rgb(colour_of(share))) - masked).max()
        for share in np.linspace(0, 1, 101)
    )
    assert nearest > 0.01  # and it is striped


def test_figures_have_these_colours() -> None:
    for share in np.linspace(0, 1, 21):
        ours, drawn = to_rgb(colour_of(share)), to_rgb(to_hex(WEIGHT_COLOURS(float(share))))
        np.testing.assert_allclose(ours, drawn, atol=3 / 255)


def test_values_can_be_read_on_every_colour() -> None:
    worst = min(
        contrast(ink_on(colour), colour)
        for ramp in (WEIGHT_RAMP, WEIGHT_RAMP_DARK)
        for colour in (colour_of(share, ramp) for share in np.linspace(0, 1, 201))
    )

    assert worst > 3.5
    assert {ink_on("#ffffff"), ink_on("#000000")} == {INK, PAPER}
