"""The colours of every picture, as "#rrggbb": in figures, in the terminal and in pages."""

from __future__ import annotations

__all__ = [
    "FAINT",
    "GRID",
    "INK",
    "MASKED",
    "MASKED_HATCH",
    "PAPER",
    "WEIGHT_RAMP",
    "WEIGHT_RAMP_DARK",
    "colour_of",
    "ink_on",
]

WEIGHT_RAMP = ("#ffffff", "#d6e6f4", "#7fb8da", "#2f7ebc", "#123f77", "#0b1f44")
"""Weight 0 to the end of the scale on a light ground; even steps, straight lines in sRGB between.

White is weight 0. Lightness falls all the way, so that it reads in grey too.
"""

WEIGHT_RAMP_DARK = ("#181230", "#5c166e", "#bb3754", "#f98c0a", "#fcf096")
"""The same on a dark ground, where brighter is more, like matplotlib's inferno."""

MASKED, MASKED_HATCH = "#eceff1", "#c3cbd2"
"""What may not be attended to: grey with stripes, which no weight is."""

PAPER, INK, FAINT, GRID = "#ffffff", "#22303c", "#c3cbd2", "#e3e8ec"
"""The ground, what is written on it, thin lines, and lines between cells."""


def colour_of(share: float, ramp: tuple[str, ...] = WEIGHT_RAMP) -> str:
    """Returns the colour of a share of the scale, 0 to 1; what lies beyond has the end's colour."""
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    low = min(int(place), len(ramp) - 2)
    pairs = zip(_parts(ramp[low]), _parts(ramp[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (place - low) * (b - a)):02x}" for a, b in pairs)


def ink_on(colour: str) -> str:
    """Returns what is read best on a colour, INK or PAPER.

    By relative luminance (WCAG 2.2); on 0.236 both contrast alike.
    """
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (byte / 255 for byte in _parts(colour))
    ]
    red, green, blue = linear
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.236 else PAPER


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
