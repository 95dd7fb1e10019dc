"""What a run shows: a table a scenario in the terminal, and JSON."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from bench.runner import Outcome
from bench.scenario import Scenario
from bench.spread import Spread, spread
from bench.verdict import Verdict, verdict

__all__ = ["record", "show", "verdicts"]

_UNITS = {
    "ms": "ms",
    "p99_ms": "p99 ms",
    "compute_ms": "compute ms",
    "beside_ms": "beside ms",
    "rate": "answers/s",
    "gflops": "GFLOP/s",
    "mib": "MiB",
    "above_mib": "above MiB",
    "peak_mib": "peak MiB",
    "growth_mib_a_minute": "growth MiB/min",
    "first_mib": "first MiB",
    "last_mib": "last MiB",
}


def verdicts(scenario: Scenario, outcome: Outcome) -> list[Verdict]:
    """Returns what came of those bars whose contenders took part."""
    found = [verdict(bar, outcome) for bar in scenario.bars]
    return [each for each in found if each is not None]


def show(console: Console, scenario: Scenario, outcome: Outcome) -> None:
    """Prints the figures of all contenders, then what came of each bar."""
    console.print(f"\n[b]{scenario.name}[/b]  {scenario.title}  [dim]{outcome.seconds:.0f} s[/dim]")
    spreads = _spreads(outcome)
    shown = [name for name in _UNITS if any(name in figures for figures in spreads.values())]
    shown += sorted({name for figures in spreads.values() for name in figures} - set(shown))
    if spreads:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("median ± half the quartiles' distance")
        for name in shown:
            table.add_column(_UNITS.get(name, name.replace("_", " ")), justify="right")
        for contender, figures in spreads.items():
            table.add_row(contender, *(_cell(figures.get(name)) for name in shown))
        console.print(Padding(table, (0, 0, 0, 2)))
    for each in verdicts(scenario, outcome):
        console.print(Padding(_line(each), (0, 0, 0, 2)))
    for note in outcome.notes:
        console.print(Padding(f"[dim]{note}[/dim]", (0, 0, 0, 2)))


def record(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    """Returns the same for JSON, with the figures of every round."""
    return {
        "title": scenario.title,
        "seconds": round(outcome.seconds, 1),
        "contenders": {
            contender: {
                name: {
                    "median": each.median,
                    "q1": each.q1,
                    "q3": each.q3,
                    "rounds": [figures[name] for figures in outcome.rounds[contender]],
                }
                for name, each in spreads.items()
            }
            for contender, spreads in _spreads(outcome).items()
        },
        "bars": [
            {
                "target": each.bar.target,
                "says": each.bar.says,
                "value": each.value,
                "low": each.interval.low,
                "high": each.interval.high,
                "unit": each.bar.unit,
                "at_most": each.bar.at_most,
                "at_least": each.bar.at_least,
                "judged_by": each.bar.judged_by,
                "met": each.met if each.bar.limited else None,
            }
            for each in verdicts(scenario, outcome)
        ],
        "notes": outcome.notes,
    }


def _spreads(outcome: Outcome) -> dict[str, dict[str, Spread]]:
    return {
        contender: {name: spread([figures[name] for figures in rounds]) for name in rounds[0]}
        for contender, rounds in outcome.rounds.items()
        if rounds
    }


def _cell(each: Spread | None) -> str:
    if each is None:
        return ""
    if each.q1 == each.q3:  # one round, or a figure that is always the same
        return _number(each.median)
    half = (each.q3 - each.q1) / 2 / abs(each.median)
    return f"{_number(each.median)} [dim]±{half:.0%}[/dim]"


def _number(value: float) -> str:
    """Returns three digits, more where they stand before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def _line(each: Verdict) -> str:
    style = "" if not each.bar.limited else "green" if each.met else "red"
    words = f"[{style}]{each.words}[/{style}]" if style else each.words
    low, high = each.interval.low, each.interval.high
    number = f"{each.bar.target}. " if each.bar.target else "   "
    sure = f"  [dim]({_number(low)} to {_number(high)})[/dim]" if each.rounds > 1 else ""
    return f"{number}{each.bar.says}: {words}{sure}"
