"""What a call costs beside its computing, against an echo of the same bytes."""

from __future__ import annotations

from functools import partial

from bench import in_process, one_caller
from bench.scenario import Bar, Contenders, Place, Scenario

__all__ = ["overhead"]

_WIDTH, _LENGTH = 384, 16
_SERVED, _BARE = "served", "ONNX Runtime in process"
_OWN_KIND, _OTHER_KIND = "stream", "unary"
"""The kind of call that the SDK makes for ``attend``, and the other one."""


def overhead() -> Scenario:
    """Returns the scenario of one caller who asks for a few tokens."""
    beside, bare = (_SERVED, "beside_ms"), (_BARE, "ms")
    own, other = (_echo(_OWN_KIND, "aio"), "ms"), (_echo(_OTHER_KIND, "aio"), "ms")
    return Scenario(
        name="overhead",
        title="384 wide, 12 heads, 1 x 16 tokens, one caller: a call beside its computing",
        bars=(
            Bar(2, f"served - computing / {_OWN_KIND} echo, as the SDK calls", beside, own, 1.3),
            Bar(0, f"served - computing / {_OTHER_KIND} echo", beside, other),
            Bar(0, "served / ONNX Runtime", (_SERVED, "ms"), bare),
            Bar(0, "computing / ONNX Runtime", (_SERVED, "compute_ms"), bare),
        ),
        contenders=_contenders,
    )


def _contenders(place: Place) -> Contenders:
    server = place.server(_WIDTH)
    model, shape = place.layer(_WIDTH), (1, _LENGTH, _WIDTH)
    workers = {
        _SERVED: place.worker(one_caller.served, server.address, model, shape),
        _BARE: place.worker(in_process.onnx_layer, place.model_file(_WIDTH), _WIDTH, _LENGTH),
    }
    for server_kind in ("aio", "sync"):
        address = place.echo(server_kind).address
        for call in (_OWN_KIND, _OTHER_KIND):
            workers[_echo(call, server_kind)] = place.worker(
                one_caller.echoed, address, call, 4 * _LENGTH * _WIDTH
            )
    return {name: partial(worker, seconds=place.form.seconds) for name, worker in workers.items()}


def _echo(call: str, server: str) -> str:
    return f"{call} echo, {server} server"
