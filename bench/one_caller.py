"""One caller that asks again and again: our SDK, a plain stub, an echo."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from attention_client import (
    AttentionClient,
    LimitExceededError,
    NotImplementedByServerError,
    RequestTooLargeError,
)
from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from attention_service.v1 import attention_pb2_grpc as pb_grpc
from bench.arrivals import embeddings
from bench.echo_server import OPTIONS, STREAM, UNARY
from bench.timed import latencies, timed
from bench.worker import Figures, Unavailable

__all__ = ["Measure", "analyzed", "echoed", "served"]

Measure = Callable[..., Figures]
_SECONDS = 120.0  # for one call; the longest take a few
_NOT_TO_BE_HAD = (LimitExceededError, NotImplementedByServerError, RequestTooLargeError)
_MASKS = {"attend_mask", "key_mask"}


@contextmanager
def served(
    address: str, model: str, *shapes: tuple[int, ...], **keywords: Any
) -> Iterator[Measure]:
    """Measures ``attend`` with embeddings of these shapes, and the keywords it is given.

    Masks are given by their shape, and drawn: half of the pairs, or keys, may attend.

    Adds the figures "compute_ms", as the server tells it, and "beside_ms", all the rest of a call;
    for weights also "mib", how large they are.
    """
    arrays = [embeddings(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    for mask in _MASKS & keywords.keys():
        keywords[mask] = np.random.default_rng(0).random(keywords[mask]) < 0.5
    with AttentionClient(address, timeout=_SECONDS) as client:

        def measure(seconds: float) -> Figures:
            compute_ms = []
            weights_mib = {}

            def call() -> None:
                try:
                    result = client.attend(model, *arrays, **keywords)
                except _NOT_TO_BE_HAD as error:
                    raise Unavailable(str(error).rstrip(".")) from None
                compute_ms.append(result.execution.compute_us / 1e3)
                if result.weights is not None:
                    weights_mib["mib"] = result.weights.nbytes / 2**20

            taken_ms = timed(call, seconds)
            return {
                **weights_mib,
                **latencies(taken_ms),
                "compute_ms": float(np.median(compute_ms)),
                "beside_ms": float(np.median(taken_ms - compute_ms)),
            }

        yield measure


@contextmanager
def analyzed(address: str, model: str, shape: tuple[int, ...]) -> Iterator[Measure]:
    """Measures ``AnalyzeHeads`` with embeddings of this shape.

    Adds the figures "compute_ms", as the server tells it, and "kib", how large the answer is.
    """
    query = tensor.encode(embeddings(*shape))
    request = pb.AnalyzeHeadsRequest(attend=pb.AttendRequest(model=model, query=query))
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = pb_grpc.AttentionServiceStub(channel)

        def measure(seconds: float) -> Figures:
            answers: list[pb.AnalyzeHeadsResponse] = []
            taken_ms = timed(
                lambda: answers.append(stub.AnalyzeHeads(request, timeout=_SECONDS)), seconds
            )
            compute_us = [answer.execution.compute_us for answer in answers]
            return {
                "kib": max(answer.ByteSize() for answer in answers) / 2**10,
                **latencies(taken_ms),
                "compute_ms": float(np.median(compute_us)) / 1e3,
            }

        yield measure


@contextmanager
def echoed(address: str, kind: str, size: int) -> Iterator[Measure]:
    """Measures an echo of ``size`` bytes; ``kind`` is "unary", or "stream" for one that stays."""
    data = bytes(size)
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        if kind == "unary":
            unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(UNARY)
            yield lambda seconds: latencies(timed(lambda: unary(data), seconds))
            return
        to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM)
        answers = iter(stream(iter(to_send.get, None)))

        def call() -> None:
            to_send.put(data)
            next(answers)

        yield lambda seconds: latencies(timed(call, seconds))
        to_send.put(None)
