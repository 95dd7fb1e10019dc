"""A view as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from attention_client.viz.view import view

if TYPE_CHECKING:
    from attention_client._results import AttendResult

__all__ = ["framed", "page", "script", "style"]

_SCRIPTS = ("colours", "data", "paper", "heat_map", "lines", "steps", "parts", "viewer")
_MOST_FRAMED = 4_000_000  # weights: 12 heads over 577 tokens, 6 MB
_PAGE_STYLE = """
body { margin: 0; }
.attention-viewer { min-height: 100vh; max-width: none; padding-inline: max(16px, 50vw - 575px); }
"""
_START = """
globalThis.attentionViewer = AttentionViewer.mount(
  document.body, JSON.parse(document.getElementById("view").textContent), { keys: document },
);
"""


def script() -> str:
    """Returns the viewer: JavaScript that defines ``AttentionViewer.mount(element, view)``."""
    parts = "\n".join(_web(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def style() -> str:
    """Returns the viewer's CSS, which reaches nothing outside ``.attention-viewer``."""
    return _web("viewer.css")


def page(shown: Mapping[str, Any]) -> str:
    """Returns a view as an HTML page, which may load nothing and run nothing but the viewer."""
    code, look = script() + _START, style() + _PAGE_STYLE
    policy = (
        f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(look)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_web("page.html")).substitute(
        policy=policy,
        title=html.escape(shown["title"]).encode("ascii", "xmlcharrefreplace").decode("ascii"),
        style=look,
        # Text that is data can end no element: every < is written as JSON's own escape.
        view=json.dumps(shown, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script=code,
    )


def framed(result: AttendResult) -> str | None:
    """Returns the page of the first sequence in a frame of its own, to stand in a notebook.

    None where there are no whole weights to show, or so many that the notebook would grow large.
    """
    if result.weights is None or result.weights[0].size > _MOST_FRAMED:
        return None
    try:
        text = page(view(result))
    except ValueError:  # the largest weights alone, or padding alone
        return None
    return (
        f'<iframe srcdoc="{html.escape(text)}" title="Attention weights" width="100%" '
        'height="900" style="border: 0" sandbox="allow-scripts allow-downloads allow-popups '
        'allow-popups-to-escape-sandbox"></iframe>'
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _web(name: str) -> str:
    return (files(__package__) / "web" / name).read_text(encoding="utf-8")
