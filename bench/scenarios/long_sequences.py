"""Attention over thousands of tokens without projections, beside ONNX Runtime's own operators."""

from __future__ import annotations

from functools import partial

from bench import in_process, one_caller
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["long_sequences"]

_HEADS, _HEAD_DIM = 12, 64
_FULL, _CAUSAL = "served", "served, causal"
_OPERATORS = {
    "causal": "Attention in process, causal",
    "full": "Attention in process",
    "flash": "MultiHeadAttention in process",
}


def long_sequences(length: int = 4096) -> Scenario:
    """Returns the scenario of computing alone: what the server tells, not what a call takes."""
    theirs = {kind: (name, "ms") for kind, name in _OPERATORS.items()}
    causal, full = (_CAUSAL, "compute_ms"), (_FULL, "compute_ms")
    return Scenario(
        name="long",
        title=f"12 heads of 64, 1 x {length:,} tokens, sdpa, one caller: computing",
        bars=(
            Bar(5, "causal / ONNX Runtime's Attention, causal", causal, theirs["causal"], 0.5),
            Bar(5, "causal / ONNX Runtime's Attention", causal, theirs["full"], 0.72),
            Bar(5, "not causal / ONNX Runtime's flash kernel", full, theirs["flash"], 1.1),
        ),
        slow=True,
        contenders=partial(_contenders, length),
    )


def _contenders(length: int, place: Place) -> Contenders:
    address = place.server().address
    shapes = [(1, length, _HEADS * _HEAD_DIM)] * 3
    workers = {
        _FULL: place.worker(one_caller.served, address, "sdpa", *shapes, num_heads=_HEADS),
        _CAUSAL: place.worker(
            one_caller.served, address, "sdpa", *shapes, num_heads=_HEADS, causal="lower_right"
        ),
    }
    for kind, name in _OPERATORS.items():
        workers[name] = place.worker(in_process.onnx_attention, kind, _HEADS, _HEAD_DIM, length)
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}
