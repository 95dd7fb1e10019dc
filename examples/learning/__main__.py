"""Learns attention from random matrices and serves it: ``python -m examples.learning``.

Two attention layers learn to name the character that followed the last time. They are exported,
served over gRPC in this process, and asked there. Ends with status 1 where the pattern that they
should have learned is not there.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.rule import Rule

from attention_client import AttentionClient
from attention_server import EmbeddedServer

from .matrices import matrices
from .model import TwoLayers
from .picture import draw_curves, draw_heat_maps, draw_matrices
from .reading import export_layers, read_in_process, read_over_grpc
from .report import claims, measures_table, record
from .texts import CHARACTERS, SHOWN, Texts, draw, written
from .training import Moment, train

UNSEEN = 64  # texts that training is never given, as long as the one shown


def main(command_line: Sequence[str] | None = None) -> None:
    """Trains, exports, serves, measures and draws."""
    parser = argparse.ArgumentParser(prog="python -m examples.learning", description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("learning"))
    arguments = parser.parse_args(command_line)
    out: Path = arguments.out

    started = time.monotonic()
    console = Console(highlight=False)
    console.width = min(console.width, 88)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)  # one thread adds up in one order, so that a run can be repeated
    unseen, shown = draw(UNSEEN, len(SHOWN) // 2), written(SHOWN)
    model = TwoLayers()

    _title(console, 1, "From random matrices: W_Q, W_K and W_V learn where to look")
    before, before_shown = (read_in_process(model, texts) for texts in (unseen, shown))
    matrices_before = matrices(model)
    moments = _train(console, model, arguments.steps, unseen)
    after, matrices_after = read_in_process(model, unseen), matrices(model)

    _title(console, 2, "To a served layer")
    with console.status("exporting"):
        export_layers(model, out / "models")
    console.print(f"  Both layers are exported and verified, in [b]{out / 'models'}[/b]")
    with (
        EmbeddedServer(out / "models", demo=False) as server,
        AttentionClient(server.address) as client,
    ):
        console.print(f"  A server in this process has them at {server.address}")
        served, served_shown = (read_over_grpc(client, model, texts) for texts in (unseen, shown))

    _title(console, 3, "What each head looks at")
    console.print(Padding(measures_table(before, served), (1, 0, 1, 2)))
    held = claims(before, after, served)
    for claim, holds in held.items():
        mark = "[green]✓[/green]" if holds else "[bold red]✗[/bold red]"
        console.print(Padding(f"{mark} {claim}", (0, 0, 0, 2), expand=False))

    draw_heat_maps(out / "heat_maps.png", SHOWN, before_shown, served_shown)
    draw_curves(out / "loss.png", moments, chance=math.log(len(CHARACTERS)))
    draw_matrices(out / "matrices.png", matrices_before, matrices_after)
    learned = record(moments, before, served)
    seconds = round(time.monotonic() - started)
    learned |= {"seed": arguments.seed, "torch": torch.__version__, "seconds": seconds}
    (out / "training.json").write_text(json.dumps(learned, indent=2) + "\n", encoding="utf-8")
    console.print(f"\n  In [b]{out}[/b]: heat_maps.png, loss.png, matrices.png, training.json")
    console.print(f"\nDone in {seconds} s.", style="dim")
    if not all(held.values()):
        raise SystemExit(1)


def _train(console: Console, model: TwoLayers, steps: int, unseen: Texts) -> list[Moment]:
    columns = ("  training", BarColumn(), "{task.completed}/{task.total}")
    clocks = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]}"))
    with Progress(*columns, *clocks, console=console) as progress:
        bar = progress.add_task("training", total=steps, loss="")

        def watch(moment: Moment) -> None:
            progress.update(bar, completed=moment.step, loss=f"{moment.loss:.3f}")

        return train(model, steps, unseen, watch)


def _title(console: Console, number: int, text: str) -> None:
    console.print()
    console.print(Rule(f"[b]{number}  {text}[/b]", align="left", style="cyan"))


if __name__ == "__main__":
    main()
