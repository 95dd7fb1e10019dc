"""A server without threads: a policy, a machine of known costs, callers, and a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attention_server.domain.request import Manner
from attention_server.scheduling.load import Load, companions, joined_work
from attention_server.scheduling.policy import Plan, Policy, Run


class Part(NamedTuple):
    """A part of a run: seconds of a resource that it needs if it has it to itself."""

    resource: str
    seconds: float
    units: float = 1.0
    """Of the resource, which it takes while it runs."""


@dataclass(frozen=True)
class Machine:
    """Resources, of which there are so many units, and what a run takes of them."""

    units: dict[str, float]
    parts: Callable[[Sequence[Load], Manner], list[Part]]


def _processors(loads: Sequence[Load], manner: Manner) -> list[Part]:
    """Two cores: first what holds the interpreter, then 14 us a token, faster on both cores."""
    work = joined_work(loads)
    lock = Part("lock", 180e-6 + 20e-6 * (len(loads) - 1))
    if manner.every_core and work > 128:
        return [lock, Part("cores", 14e-6 * work / 1.7, 2.0)]
    return [lock, Part("cores", 14e-6 * work)]


def _accelerator(loads: Sequence[Load], manner: Manner) -> list[Part]:
    """One run at a time: 1 ms and 1 us a token from 512 tokens on."""
    return [
        Part("lock", 100e-6 + 20e-6 * (len(loads) - 1)),
        Part("device", 1e-3 + 1e-6 * max(0.0, joined_work(loads) - 512)),
    ]


CPU = Machine({"lock": 1.0, "cores": 2.0}, _processors)
GPU = Machine({"lock": 1.0, "device": 1.0}, _accelerator)


@dataclass(eq=False)
class _Running:
    run: Run
    arrivals: list[float]
    callers: list[int]
    parts: list[Part]
    began: float
    left: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What became of the requests after the warm-up."""

    latencies: dict[int, list[float]]
    """By model, seconds, ascending."""
    rate: float
    """Requests a second."""

    @property
    def all(self) -> list[float]:
        return sorted(itertools.chain.from_iterable(self.latencies.values()))

    @property
    def mean(self) -> float:
        return sum(self.all) / len(self.all)

    @property
    def p99(self) -> float:
        return self.all[int(0.99 * len(self.all))]


@dataclass(frozen=True)
class Traffic:
    """Who asks what, and when."""

    lengths: Callable[[random.Random], int]
    callers: int = 0
    """Who ask again 0.2 ms after each answer; 0 for strangers, who come by chance."""
    rate: float = 0.0
    """Strangers a second."""
    models: Sequence[int] = (0,)
    """Model of each caller, in turn."""


_PAUSE = 0.5e-3


def simulate(
    policy: Policy, machine: Machine, traffic: Traffic, *, requests: int, threads: int = 2
) -> Seen:
    """Returns what the callers see, the first tenth of the requests left out."""
    chance = random.Random(0)  # noqa: S311 - no secret
    arrivals: list[tuple[float, int]] = []
    sent = itertools.count()

    def send(now: float, caller: int) -> None:
        if next(sent) < requests:
            heapq.heappush(arrivals, (now, caller))

    for caller in range(traffic.callers):
        send(1e-6 * caller, caller)
    if not traffic.callers:
        now = 0.0
        for caller in range(requests):
            now += chance.expovariate(traffic.rate)
            send(now, caller)

    waiting: OrderedDict[int, tuple[float, int, Load]] = OrderedDict()
    number = itertools.count()
    running: list[_Running] = []
    done: list[tuple[float, float, int]] = []
    now = 0.0

    def speeds() -> list[float]:
        """A resource is shared by all who use it; the lock and a device serve one by one."""
        result = []
        used: dict[str, float] = {}
        for r in running:
            part = r.parts[0]
            if part.resource == "cores":
                used["cores"] = used.get("cores", 0.0) + part.units
        first: set[str] = set()
        for r in running:
            part = r.parts[0]
            if part.resource == "cores":
                result.append(min(1.0, machine.units["cores"] / used["cores"]))
            else:
                result.append(0.0 if part.resource in first else 1.0)
                first.add(part.resource)
        return result

    def take() -> None:
        while waiting and len(running) < threads:
            head = next(iter(waiting.values()))[2]
            same = [
                (i, w) for i, w in itertools.islice(waiting.items(), 256) if w[2].key == head.key
            ][:64]
            plan = policy.choose([w[2] for _, w in same], len(waiting), [r.run for r in running])
            if plan is None:
                return
            jobs = [same[i] for i in plan.chosen]
            for i, _ in jobs:
                del waiting[i]
            loads = [w[2] for _, w in jobs]
            run = policy.begin(plan, loads, len(waiting) + len(loads), [r.run for r in running])
            parts = machine.parts(loads, plan.manner)
            running.append(
                _Running(
                    run,
                    [w[0] for _, w in jobs],
                    [w[1] for _, w in jobs],
                    parts,
                    now,
                    parts[0].seconds,
                )
            )

    while arrivals or running:
        speed = speeds()
        finish = [
            now + r.left / s if s else float("inf") for r, s in zip(running, speed, strict=True)
        ]
        soonest = min(finish, default=float("inf"))
        upcoming = arrivals[0][0] if arrivals else float("inf")
        then = min(soonest, upcoming)
        for r, s in zip(running, speed, strict=True):
            r.left -= (then - now) * s
        now = then
        if upcoming <= soonest:
            _, caller = heapq.heappop(arrivals)
            model = traffic.models[caller % len(traffic.models)]
            length = traffic.lengths(chance)
            waiting[next(number)] = (now, caller, Load(model, model, 1, length, length))
        else:
            at = finish.index(soonest)
            r = running[at]
            r.parts.pop(0)
            if r.parts:
                r.left = r.parts[0].seconds
                # who comes later to a resource that serves one by one is served later
                running.append(running.pop(at))
            else:
                running.pop(at)
                policy.learn(r.run, now - r.began)
                for arrived, caller in zip(r.arrivals, r.callers, strict=True):
                    model = traffic.models[caller % len(traffic.models)]
                    done.append((now, now - arrived, model))
                    if traffic.callers:
                        send(now + _PAUSE, caller)
        take()
    assert len(done) == requests
    warm = done[requests // 10 :]
    latencies: dict[int, list[float]] = {}
    for _, latency, model in warm:
        latencies.setdefault(model, []).append(latency)
    return Seen(latencies, (len(warm) - 1) / (warm[-1][0] - warm[0][0]))


class Fixed(Policy):
    """Batches of at most so many, on so many threads at a time."""

    def __init__(self, most: int = 1, *, abreast: int = 2, every_core: bool = False) -> None:
        super().__init__(threads=2, batching=True)
        self._most, self._abreast, self._every_core = most, abreast, every_core

    def choose(self, alike: Sequence[Load], waiting: int, running: Collection[Run]) -> Plan | None:
        if len(running) >= self._abreast:
            return None
        chosen = companions(alike, most=self._most, budget=8192)
        return Plan(chosen, Manner(len(chosen) > 1, self._every_core))

    def learn(self, run: Run, seconds: float) -> None:
        pass
