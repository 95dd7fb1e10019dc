"""Requests of all shapes and kinds, drawn from a seed, to see what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_client import AttentionClient
from bench.arrivals import embeddings
from bench.worker import Figures

__all__ = ["Measure", "drawn", "mixed"]

Measure = Callable[..., Figures]
_CALLERS = 4
_MOST_TOKENS = 1024  # of one request, all its sequences together
_MOST_BATCH = 8
_MOST_HEADS = 16


@contextmanager
def mixed(address: str, layers: dict[str, int]) -> Iterator[Measure]:
    """Measures for some seconds how many requests are answered; ``layers`` says who is how wide."""
    with AttentionClient(address) as client:

        def caller(seed: int, end: float) -> int:
            random = np.random.default_rng(seed)
            answered = 0
            while time.perf_counter() < end:
                client.attend(**drawn(random, layers))
                answered += 1
            return answered

        def measure(seconds: float) -> Figures:
            begin = time.perf_counter()
            with ThreadPoolExecutor(_CALLERS) as pool:
                answered = sum(pool.map(caller, range(_CALLERS), [begin + seconds] * _CALLERS))
            return {"rate": answered / (time.perf_counter() - begin)}

        yield measure


def drawn(random: np.random.Generator, layers: dict[str, int]) -> dict[str, Any]:
    """Returns the keywords of one call: any length, short ones as likely as long ones."""
    model = str(random.choice([*layers, "sdpa"]))
    heads = int(random.integers(1, _MOST_HEADS + 1))
    length = int(2 ** random.uniform(0, np.log2(_MOST_TOKENS)))
    batch = int(random.integers(1, 1 + min(_MOST_BATCH, _MOST_TOKENS // length)))
    width = layers[model] if model in layers else 64 * heads
    keywords: dict[str, Any] = {
        "model": model,
        "query": embeddings(batch, length, width, seed=int(random.integers(2**31))),
    }
    if model == "sdpa":
        keywords["num_heads"] = heads
    if random.random() < 0.5:
        keywords["causal"] = "lower_right"
    if random.random() < 0.5:
        keywords["kv_lengths"] = random.integers(1, length + 1, batch).tolist()
    for part in ("weights", "scores", "projections", "head_outputs", "log_sum_exp"):
        if random.random() < 0.15:
            keywords[part] = True
    return keywords
