"""What many tokens take of the server's memory, above the tensors of request and answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench import one_caller, process_memory
from bench.scenario import Bar, Contenders, Place, Scenario
from bench.worker import Figures

__all__ = ["long_memory"]

_HEADS, _WIDTH = 12, 768
_MOST_MIB = 300e6 / 2**20  # 300 MB
_IN_SHORT = ("no mask", "causal")
_ONE_KEY = "one key, nothing to compute"
_NOTE = (
    "Each has a server of its own. Above what that held after one small request, and above query, "
    "mask and output. All that gRPC and protobuf copy counts too: see the request with one key."
)


def long_memory(length: int = 16_384) -> Scenario:
    """Returns the scenario of one long sequence, output only, with masks of all kinds."""
    return Scenario(
        name="long-memory",
        title=f"12 heads of 64, 1 x {length:,} tokens, sdpa, output only: peak memory",
        bars=tuple(
            Bar(
                5,
                f"{length:,} tokens, {name}: peak above the tensors",
                (name, "above_mib"),
                None,
                at_most=_MOST_MIB,
                unit="MiB",
            )
            for name in _masks(length)
        ),
        contenders=partial(_contenders, length),
        rounds=1,
        warms=False,
    )


def _masks(length: int) -> Mapping[str, Mapping[str, Any]]:
    """Returns keywords of ``attend`` by name; masks by their shape."""
    return {
        "no mask": {},
        "causal": {"causal": "lower_right"},
        "key mask": {"key_mask": (1, length)},
        "window": {"window": (length // 32, 0)},
        "lengths": {"kv_lengths": [length - length // 16]},
        "pair by pair": {"attend_mask": (length, length)},
    }


def _contenders(length: int, place: Place) -> Contenders:
    query = (1, length, _WIDTH)
    place.notes.append(_NOTE)
    masks = _masks(length)
    named = masks if place.form.full else _IN_SHORT
    return {
        _ONE_KEY: partial(_measure, place, [query, (1, 1, _WIDTH)], {}),
        **{name: partial(_measure, place, [query], masks[name]) for name in named},
    }


def _measure(place: Place, shapes: list[tuple[int, ...]], mask: Mapping[str, Any]) -> Figures:
    """Returns the peak of one request in a server that is there for it alone."""
    with ExitStack() as stack:
        here = Place(place.models, place.form, stack)
        server = here.server()
        ask = partial(here.worker, one_caller.served, server.address, "sdpa", num_heads=_HEADS)
        small, long = ask((1, 8, _WIDTH)), ask(*shapes, **mask)
        here.wait()
        small(seconds=0)
        idle_mib = process_memory.resident_mib(server.pid)
        process_memory.forget_peak(server.pid)
        figures = long(seconds=0)
        peak_mib = process_memory.peak_mib(server.pid)
    _, length, width = shapes[0]
    floats = 2 * length * width  # query, which is key and value, and output
    rows, keys = mask.get("attend_mask", (0, 0))
    return {
        "compute_ms": figures["compute_ms"],
        "peak_mib": peak_mib,
        "above_mib": peak_mib - idle_mib - (4 * floats + rows * keys) / 2**20,
    }
