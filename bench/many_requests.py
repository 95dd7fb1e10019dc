"""The same request a thousand times from one caller, over one stream or call by call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from attention_client import AttentionClient
from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from attention_service.v1 import attention_pb2_grpc
from bench.arrivals import embeddings
from bench.worker import Figures

__all__ = ["Measure", "one_by_one", "pipelined", "unary_calls"]

Measure = Callable[..., Figures]


@contextmanager
def pipelined(address: str, model: str, shape: tuple[int, ...]) -> Iterator[Measure]:
    """Measures ``attend_many``."""
    x = embeddings(*shape)
    with AttentionClient(address) as client:
        call = {"model": model, "query": x}
        yield lambda requests: _rate(
            requests, lambda: [each.output for each in client.attend_many([call] * requests)]
        )


@contextmanager
def one_by_one(address: str, model: str, shape: tuple[int, ...]) -> Iterator[Measure]:
    """Measures ``attend`` in a loop."""
    x = embeddings(*shape)
    with AttentionClient(address) as client:
        yield lambda requests: _rate(
            requests, lambda: [client.attend(model, x).output for _ in range(requests)]
        )


@contextmanager
def unary_calls(address: str, model: str, shape: tuple[int, ...]) -> Iterator[Measure]:
    """Measures unary ``Attend`` calls in a loop, made by hand from the contract's stubs."""
    x = embeddings(*shape)
    with grpc.insecure_channel(address) as channel:
        stub = attention_pb2_grpc.AttentionServiceStub(channel)

        def call() -> object:
            request = pb.AttendRequest(model=model, query=tensor.encode(x))
            return tensor.decode(stub.Attend(request).output)

        yield lambda requests: _rate(requests, lambda: [call() for _ in range(requests)])


def _rate(requests: int, ask: Callable[[], list[object]]) -> Figures:
    """Returns the answers a second."""
    begin = time.perf_counter()
    answers = ask()
    taken = time.perf_counter() - begin
    assert len(answers) == requests
    return {"rate": requests / taken}
