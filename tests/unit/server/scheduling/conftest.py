"""Schedulers that end with their test, and an engine that holds what it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from attention_server.scheduling.scheduler import RequestEngine, Scheduler
from tests.unit.server.scheduling.held_engine import HeldEngine


@pytest.fixture
def schedule() -> Iterator[Callable[..., Scheduler]]:
    """Starts schedulers: ``schedule(engine, threads=2)``."""
    schedulers: list[Scheduler] = []

    def start(engine: RequestEngine, **settings: Any) -> Scheduler:
        defaults: dict[str, Any] = {
            "threads": 1,
            "max_waiting_requests": 1000,
            "max_waiting_bytes": 1 << 30,
        }
        schedulers.append(Scheduler(engine, batching=True, **{**defaults, **settings}))
        return schedulers[-1]

    yield start
    for scheduler in schedulers:
        scheduler.close()


@pytest.fixture
def engine() -> Iterator[HeldEngine]:
    engine = HeldEngine()
    yield engine
    engine.let_go(1000)  # a test that failed holds nobody
