"""The page of ``to_html`` as a test reads it: its canvas, its cells, what it saves."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page

__all__ = [
    "SENTENCE",
    "SVG",
    "Show",
    "cells",
    "downloaded",
    "number_of_colours",
    "picture",
    "pixels",
    "settle",
    "texts",
    "viewer",
]

SENTENCE = "今天天气真好，我想出去玩"
SVG = "{http://www.w3.org/2000/svg}"

Show: TypeAlias = Callable[[str], Page]
Pixels: TypeAlias = NDArray[Any]


def settle(page: Page) -> None:
    """Waits until everything is drawn."""
    page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 60))")


def viewer(page: Page, expression: str) -> Any:
    found = page.evaluate(f"() => {{ const r = attentionViewer.{expression}; return r ?? null; }}")
    settle(page)
    return found


def picture(page: Page) -> Locator:
    return page.locator(".picture canvas")


def pixels(page: Page, selector: str = ".picture canvas") -> Pixels:
    """Returns the colours of a canvas, uint8 [height, width, 3]."""
    url = page.locator(selector).evaluate("(canvas) => canvas.toDataURL()")
    return colours_of(imread(BytesIO(base64.b64decode(url.partition(",")[2]))))


def colours_of(image: Pixels) -> Pixels:
    """Returns uint8 [height, width, 3] of a picture as matplotlib reads it."""
    colours: Pixels = np.rint(image[..., :3] * 255).astype(np.uint8)
    return colours


def number_of_colours(image: Pixels) -> int:
    red, green, blue = np.moveaxis(colours_of(image).astype(int), -1, 0)
    return len(np.unique((red << 16) + (green << 8) + blue))


def downloaded(page: Page, kind: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Save the picture as {kind}").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def texts(svg: Path) -> list[str]:
    return [element.text or "" for element in ET.parse(svg).iter(f"{SVG}text")]  # noqa: S314


def cells(page: Page, heads: int, queries: list[int], keys: int) -> NDArray[np.float64]:
    """Returns weight and whether it is masked of these cells, [heads, queries, keys, 2]."""
    found = page.evaluate(
        """([heads, queries, keys]) => Array.from({ length: heads }, (_, head) => queries.map(
          (query) => Array.from({ length: keys }, (_, key) => {
            const { weight, masked } = attentionViewer.cell(head, query, key);
            return [weight, masked ? 1 : 0];
          })))""",
        [heads, queries, keys],
    )
    return np.array(found, np.float64)
