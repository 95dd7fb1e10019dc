"""The command line: which scenarios, how long, and where the results go."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench import machine
from bench.picture import draw
from bench.report import record, show, verdicts
from bench.runner import run
from bench.scenario import Form, Scenario
from bench.scenarios import SCENARIOS
from bench.verdict import Verdict

__all__ = ["main"]

SHORT = Form(rounds=4, slow_rounds=2, seconds=0.1, memory_seconds=5, full=False)
FULL = Form(rounds=21, slow_rounds=5, seconds=1.0, memory_seconds=300, full=True)
_CACHE = Path(__file__).with_name(".cache")


def main(command_line: Sequence[str] | None = None) -> None:
    """Runs scenarios, prints what they show, and writes it; status 1 where one could not be run."""
    arguments = _parser().parse_args(command_line)
    form = FULL if arguments.full else SHORT
    chosen = arguments.scenario or [
        each for each in SCENARIOS if not each.optional and (form.full or not each.full_only)
    ]
    if arguments.rounds:
        form = replace(form, rounds=arguments.rounds)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    began = time.monotonic()
    console = Console(highlight=False)
    described = machine.described()
    console.print(_where(described), style="dim")
    results = {}
    came_of: list[Verdict] = []
    failed = False
    for scenario in chosen:
        with console.status(f"{scenario.name}  {scenario.title}"):
            outcome = run(scenario, arguments.models, form)
        show(console, scenario, outcome)
        came_of += verdicts(scenario, outcome)
        failed = failed or outcome.failed
        results[scenario.name] = record(scenario, outcome)
    document = {"form": asdict(form), "machine": described, "scenarios": results}
    (out / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    draw(
        out / "bench.png",
        came_of,
        f"Dark line: the bar. Faint line: 95 % confidence. {_briefly(described)}",
    )
    console.print(f"\nDone in {time.monotonic() - began:.0f} s; the figures are in {out}.")
    if failed:
        raise SystemExit(1)


def _where(described: Mapping[str, str | int]) -> str:
    """Returns the machine and what it ran with, in a line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in described.items())


def _briefly(described: Mapping[str, str | int]) -> str:
    names = ("processor", "cores", "onnxruntime", "torch", "grpcio")
    return _where({name: described[name] for name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the server beside its rivals; a missed bar is no failure.",
        epilog="scenarios:\n" + "\n".join(f"  {each.name:14}{each.title}" for each in SCENARIOS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scenario",
        nargs="*",
        type=_scenario,
        metavar="SCENARIO",
        help="which (default: all)",
    )
    parser.add_argument("--full", action="store_true", help="longer rounds and more of them")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds that count")
    parser.add_argument(
        "--models",
        type=Path,
        default=_CACHE / "models",
        metavar="DIR",
        help="where the layers are kept that are measured",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench-results"),
        metavar="DIR",
        help="for bench.json and bench.png",
    )
    return parser


def _scenario(name: str) -> Scenario:
    for each in SCENARIOS:
        if each.name == name:
            return each
    raise argparse.ArgumentTypeError(f"no scenario is called {name!r}; --help names them")
