"""The fonts of figures: Chinese characters are drawn on a machine without a font for them."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.font_manager import FontProperties, fontManager
from pylopdf_fonts_zh_cn import sans_path

__all__ = ["plain_text"]

_FAMILY = "Noto Sans SC"


def plain_text(size: float, **properties: Any) -> dict[str, Any]:
    """Returns the properties of a text that is drawn as it stands, in points of this size.

    What Noto Sans SC lacks comes from the user's own ``rcParams["font.family"]``, Korean say, and
    from matplotlib's DejaVu Sans. No dollar sign in a token begins a formula.
    """
    if all(font.name != _FAMILY for font in fontManager.ttflist):
        fontManager.addfont(str(sans_path()))  # one more family to choose, nothing else changes
    families = dict.fromkeys((_FAMILY, *matplotlib.rcParams["font.family"], "DejaVu Sans"))
    font = FontProperties(family=list(families), size=size)
    return {"fontproperties": font, "parse_math": False, "usetex": False, **properties}
