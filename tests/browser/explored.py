"""What the page to explore shows, read back and compared with what the SDK gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from attention_client import AttendResult, AttentionClient
from attention_client.explore.texts import Texts
from attention_server import EmbeddedServer

__all__ = ["Behind", "check_shown", "settled", "tokens"]


@dataclass(frozen=True)
class Behind:
    """What stands behind the page."""

    address: str
    server: EmbeddedServer
    texts: Texts

    def attend(self, *sentences: str, model: str = "demo", **keywords: Any) -> AttendResult:
        """Returns what the SDK gets for what the page asks."""
        query, lengths = self.texts.embed(*sentences)
        if len(sentences) > 1:
            keywords.setdefault("kv_lengths", lengths.tolist())
        with AttentionClient(self.server.address) as client:
            return client.attend(
                model,
                query,
                weights=True,
                scores=True,
                projections=True,
                head_outputs=True,
                **keywords,
            )


def tokens(page: Page) -> Locator:
    return page.locator("#tokens button")


def settled(page: Page) -> None:
    """Waits until the picture is that of what the form says."""
    expect(page.locator("#views")).not_to_have_class(re.compile("stale"))
    expect(page.locator("#progress")).to_be_hidden()


def check_shown(
    page: Page, result: AttendResult, *, sequence: int = 0, viewer: int = 0, end: int | None = None
) -> None:
    """Checks every cell of a picture: its weight, and whether it is masked.

    Args:
        page: The page.
        result: What the SDK gets.
        sequence: Of the batch.
        viewer: Of the pictures side by side.
        end: Tokens of the sequence, all where absent.
    """
    settled(page)
    weights = result.weights
    in_sight = result.in_sight
    assert weights is not None
    assert in_sight is not None
    weights = weights[sequence, :, :end, :end].astype(np.float64)
    sight = np.broadcast_to(in_sight[sequence, :, :end, :end], weights.shape)
    cells = page.evaluate(
        """([viewer, [heads, queries, keys]]) => {
          const range = (size) => [...Array(size).keys()];
          return range(heads).map((head) => range(queries).map((query) => range(keys).map(
            (key) => attentionViewers[viewer].cell(head, query, key))));
        }""",
        [viewer, list(weights.shape)],
    )
    shown = np.array([[[cell["weight"] for cell in row] for row in head] for head in cells])
    masked = [[[cell["masked"] for cell in row] for row in head] for head in cells]
    assert np.array_equal(masked, ~sight)
    most = weights.max(axis=-1, keepdims=True) / 510
    assert (np.abs(np.where(sight, shown, 0) - weights) <= most * (1 + 1e-6)).all()
