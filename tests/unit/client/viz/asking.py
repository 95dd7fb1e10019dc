"""Answers of a real server to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client import AttendResult, AttentionClient

HEADS = 3
WIDTH = 12
SENTENCE = "天气真好"


def embeddings(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((*shape, WIDTH), np.float32)


def ask(client: AttentionClient, batch: int, queries: int, keys: int = 0, **how: Any) -> Any:
    """Returns the answer of "sdpa" with weights; with keys, keys are others than the queries."""
    key = embeddings(batch, keys, seed=1) if keys else None
    how = {"weights": True, **how}
    result: AttendResult = client.attend(
        "sdpa", embeddings(batch, queries), key, num_heads=HEADS, **how
    )
    return result
