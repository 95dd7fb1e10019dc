"""What the RPCs that compute attention work with."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from attention_server.domain.catalog import Catalog
from attention_server.edge.decoder import Decoder, StreamDecoder
from attention_server.edge.freed_memory import FreedMemory
from attention_server.scheduling.scheduler import Scheduler
from attention_service.limits import Limits

__all__ = ["Means"]


@dataclass(frozen=True)
class Means:
    """Shared by unary calls and streams, of one event loop."""

    catalog: Catalog
    limits: Limits
    decoder: Decoder
    stream_decoder: StreamDecoder
    scheduler: Scheduler
    executor: Executor
    """For work on large messages, away from the event loop."""
    freed_memory: FreedMemory
