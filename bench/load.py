"""Load on our server through the SDK, and the same on the plain one through a plain stub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from attention_client import AttentionClient
from bench.loops import Measure, load
from bench.plain_server import METHOD

__all__ = ["plain_load", "served_load"]


@contextmanager
def served_load(address: str, model: str, width: int, low: int, high: int) -> Iterator[Measure]:
    """Puts load on our server; lengths are drawn from low to high."""
    with AttentionClient(address) as client:
        yield load(lambda x: client.attend(model, x[None]).output, width, low, high)


@contextmanager
def plain_load(address: str, width: int, low: int, high: int) -> Iterator[Measure]:
    """Puts the same load on the plain server."""
    with grpc.insecure_channel(address) as channel:
        run: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        def ask(x: NDArray[np.float32]) -> Any:
            return np.frombuffer(run(x.tobytes()), np.float32).reshape(x.shape)

        yield load(ask, width, low, high)
