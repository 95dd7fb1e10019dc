"""What is measured, in the order in which it is shown."""

from __future__ import annotations

from bench.scenario import Scenario
from bench.scenarios.batching import batching
from bench.scenarios.heads import heads
from bench.scenarios.layer_latency import layer_latency
from bench.scenarios.long_memory import long_memory
from bench.scenarios.long_sequences import long_sequences
from bench.scenarios.many_callers import many_callers
from bench.scenarios.memory import memory
from bench.scenarios.other_servers import other_servers
from bench.scenarios.overhead import overhead
from bench.scenarios.pipelined import pipelined
from bench.scenarios.weights import all_weights, one_row

__all__ = ["SCENARIOS"]

SCENARIOS: tuple[Scenario, ...] = (
    layer_latency(length=128, bare_bar=1.5, torch_bar=0.65),
    layer_latency(length=512, bare_bar=1.3, torch_bar=0.65),
    overhead(),
    many_callers(low=8, high=128, bar=1.25, stretch=1.4),
    many_callers(low=4, high=16, bar=1.6, stretch=2.0),
    batching(callers=16, low=8, high=128, full_only=True),
    batching(callers=16, low=4, high=16),
    batching(callers=1, low=4, high=16, full_only=True),
    long_sequences(),
    long_memory(),
    one_row(),
    all_weights(),
    heads(),
    pipelined(),
    memory(),
    other_servers(),
)
