"""The same layer in other servers for models, where they can be installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import load
from bench.rivals import environment
from bench.rivals.asking import asking
from bench.scenario import Bar, Contenders, Place, Scenario
from bench.servers import started
from bench.worker import Figures, Unavailable

__all__ = ["other_servers"]

_WIDTH, _LOW, _HIGH = 384, 8, 128
_CALLERS = 16
_OURS = "ours"
_RIVALS = {
    "MLServer": ("mlserver", ("mlserver",)),
    "PyTriton": ("pytriton", ("nvidia-pytriton",)),
}
"""By name: its program in ``bench.rivals``, and what must be installed beside ONNX Runtime."""


def other_servers() -> Scenario:
    """Returns the scenario of 16 callers; it takes minutes and a gigabyte when it first runs."""
    return Scenario(
        name="rivals",
        title="384 wide, 12 heads, 16 callers, 8 to 128 tokens: MLServer, PyTriton (optional)",
        bars=tuple(
            Bar(0, f"{figure} / {rival}", (_OURS, name), (rival, name))
            for rival in _RIVALS
            for name, figure in (("rate", "rate"), ("p99_ms", "p99"))
        ),
        contenders=_contenders,
        optional=True,
    )


def _contenders(place: Place) -> Contenders:
    drawn = (_WIDTH, _LOW, _HIGH)
    server = place.server(_WIDTH)
    ours = place.worker(load.served_load, server.address, place.layer(_WIDTH), *drawn)
    seconds = place.form.seconds
    contenders: dict[str, Callable[[], Figures]] = {
        _OURS: partial(ours, seconds=seconds, callers=_CALLERS)
    }
    for name, (program, packages) in _RIVALS.items():
        try:
            theirs = _rival(place, program, packages, drawn)
        except Unavailable as reason:
            place.notes.append(f"{name} cannot take part: {reason}.")
        else:
            contenders[name] = partial(theirs, seconds=seconds, callers=_CALLERS)
    return contenders


def _rival(
    place: Place, program: str, packages: tuple[str, ...], drawn: tuple[int, int, int]
) -> Callable[..., Figures]:
    environments = place.models.parent / "rivals"
    python = environment.python(environments, program, *packages, "onnxruntime")
    variables = environment.variables()
    module, model = f"bench.rivals.{program}_server", str(place.model_file(_WIDTH).resolve())
    server = place.enter(started([python, "-m", module, model, str(_WIDTH)], variables))
    command = [python, "-m", "bench.rivals.inference_load", server.address, *map(str, drawn)]
    return place.enter(asking(command, variables))
