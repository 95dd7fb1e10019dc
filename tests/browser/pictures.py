"""Takes the pictures of the page that the docs show: ``python -m tests.browser.pictures docs``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from attention_client import AttentionClient
from attention_client.explore.characters import CharacterEmbedding
from attention_server import EmbeddedServer

SENTENCE = "今天天气真好，我想出去玩"


def main(folder: Path) -> None:
    """Writes page.png and page-dark.png to a folder; the browser needs a font with Chinese."""
    embeddings, _ = CharacterEmbedding.load(Path("examples/demo")).embed(SENTENCE)
    with EmbeddedServer() as server, AttentionClient(server.address) as client:
        result = client.attend(
            "demo", embeddings, causal="lower_right", weights=True, scores=True, projections=True
        )
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        html = Path(temporary) / "page.html"
        html.write_text(result.to_html(SENTENCE), encoding="utf-8")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(html.as_uri())
        page.evaluate("attentionViewer.lock(2, 4)")
        for theme, name in [("light", "page.png"), ("dark", "page-dark.png")]:
            page.evaluate(f"attentionViewer.setTheme('{theme}')")
            page.wait_for_timeout(300)
            page.screenshot(path=folder / name, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
