"""A layer of 768 for one caller: served, and in the process that asks."""

from __future__ import annotations

from functools import partial

from bench import in_process, one_caller
from bench.models import HEADS
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["layer_latency"]

_WIDTH = 768
_SERVED, _BARE, _TORCH = "served", "ONNX Runtime in process", "torch in process"
_ECHO, _PRODUCTS = "gRPC echo, stream", "the four projections alone"


def layer_latency(length: int, bare_bar: float, torch_bar: float) -> Scenario:
    """Returns the scenario of one caller who asks for one sequence of that length."""
    served, bare, torch = (_SERVED, "ms"), (_BARE, "ms"), (_TORCH, "ms")
    return Scenario(
        name=f"layer-{length}",
        title=f"768 wide, 12 heads, 1 x {length} tokens, one caller",
        bars=(
            Bar(1, f"{length} tokens: served / ONNX Runtime", served, bare, bare_bar),
            Bar(1, f"{length} tokens: served / torch", served, torch, torch_bar),
            Bar(0, f"{length} tokens: ONNX Runtime / torch", bare, torch),
            Bar(0, f"{length} tokens: four projections / torch", (_PRODUCTS, "ms"), torch),
        ),
        contenders=partial(_contenders, length),
    )


def _contenders(length: int, place: Place) -> Contenders:
    server = place.server(_WIDTH)
    model, shape = place.layer(_WIDTH), (1, length, _WIDTH)
    bytes_either_way = 4 * length * _WIDTH
    workers = {
        _SERVED: place.worker(one_caller.served, server.address, model, shape),
        _BARE: place.worker(in_process.onnx_layer, place.model_file(_WIDTH), _WIDTH, length),
        _TORCH: place.worker(in_process.torch_layer, _WIDTH, HEADS, length),
        _ECHO: place.worker(
            one_caller.echoed, place.echo("aio").address, "stream", bytes_either_way
        ),
        _PRODUCTS: place.worker(in_process.onnx_product, _WIDTH, length),
    }
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}
