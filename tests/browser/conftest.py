"""A real Chromium, without a window, for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pylopdf_fonts_zh_cn import sans_path

from attention_client import AttendResult, AttentionClient
from attention_client.explore.characters import CharacterEmbedding
from attention_server import EmbeddedServer
from tests.browser.opened import SENTENCE, Show, settle

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{directory}</dir>
</fontconfig>
"""


# No longer than a module: while it runs, this thread can run no other event loop.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, with a font that has Chinese characters."""
    fonts = tmp_path_factory.mktemp("fonts") / "fonts.conf"
    fonts.write_text(_FONTS.format(directory=Path(sans_path()).parent))
    installed = next(filter(None, map(shutil.which, _NAMES)), None)  # None: Playwright's own
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []  # as root it has none
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=installed,
            args=arguments,
            env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may reach this machine alone, and whose errors fail the test."""
    context = browser.new_context(accept_downloads=True)
    context.route(
        lambda url: not url.startswith(("http://127.0.0.1", "file:", "data:", "blob:")),
        lambda route: route.abort(),
    )
    errors: list[str] = []
    tab = context.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert not errors


@pytest.fixture(scope="module")
def client() -> Iterator[AttentionClient]:
    """A client of a server with the demo's model."""
    with EmbeddedServer() as server, AttentionClient(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def result(client: AttentionClient) -> AttendResult:
    """What the demo's layer makes of its sentence, causally, with all that a page can show."""
    folder = Path(__file__).parents[2] / "examples" / "demo"
    embeddings, _ = CharacterEmbedding.load(folder).embed(SENTENCE)
    return client.attend(
        "demo", embeddings, causal="lower_right", weights=True, scores=True, projections=True
    )


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Iterator[Show]:
    """Opens HTML as a file; it must ask for nothing and complain of nothing."""
    asked: list[str] = []
    complaints: list[str] = []

    def opened(html: str) -> Page:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.set_viewport_size({"width": 1200, "height": 1000})
        page.goto(path.as_uri())
        settle(page)
        return page

    yield opened
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []
