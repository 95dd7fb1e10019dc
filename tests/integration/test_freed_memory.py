"""Whatever took much memory has it given back, once it is over."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from attention_server import EmbeddedServer
from attention_server.edge.freed_memory import FreedMemory
from tests.integration.programs import PATIENCE_SECONDS
from tests.messages import floats, sdpa
from tests.wire import SERVICE, Wire

HEALTH = "grpc.health.v1.Health"
LARGE = bytes(5 << 20)
PAIRS = sdpa(query=floats(1, 1024, 2), key=None, value=None)  # of weights 8 MiB, itself small
PAIRS.outputs.weights.SetInParent()


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[int]:
    """What a server in this process hears of the sizes of calls that are over."""
    heard: queue.Queue[int] = queue.Queue()
    call_over = FreedMemory.call_over

    def watched(freed: FreedMemory, size: int) -> None:
        call_over(freed, size)
        heard.put(size)

    monkeypatch.setattr(FreedMemory, "call_over", watched)
    return heard


@pytest.mark.parametrize(
    ("method", "data", "size"),
    [
        *(
            (f"{SERVICE}/{rpc}", LARGE, len(LARGE))
            for rpc in ("Attend", "AnalyzeHeads", "ListModels", "GetModel", "GetServerInfo")
        ),
        (f"{HEALTH}/Check", LARGE, len(LARGE)),
        (f"{HEALTH}/Watch", LARGE, len(LARGE)),
        (f"{SERVICE}/Attend", PAIRS.SerializeToString(), 8 << 20),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_size_of_every_call_is_heard(
    sizes: queue.Queue[int], method: str, data: bytes, size: int
) -> None:
    with EmbeddedServer(demo=False) as server, Wire(server.address) as wire:
        ask: Any = wire.channel.unary_unary(f"/{method}")
        ask.future(data, timeout=PATIENCE_SECONDS).exception()
        while sizes.get(timeout=PATIENCE_SECONDS) < size:
            pass  # of the same call, that of its request or of its answer


def test_a_server_that_stops_trims_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    shut: list[bool] = []
    close = FreedMemory.close

    def watched(freed: FreedMemory) -> None:
        close(freed)
        shut.append(freed._executor._shutdown)  # type: ignore[attr-defined]

    monkeypatch.setattr(FreedMemory, "close", watched)
    with EmbeddedServer(demo=False):
        pass

    assert shut == [False]  # it ends before the threads that it uses
