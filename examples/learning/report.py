"""What was learned, as figures side by side, and whether it is what should have been learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from attention_service.head_measures import HeadMeasures

from .reading import Reading
from .training import BATCH, Moment

__all__ = ["claims", "measures_table", "record", "uniform_share"]

FLAT = 0.9  # normalized entropy of a head that looks at everything nearly alike
FOUND = 0.9  # weight on what a head should look at
CLOSE = 1e-5  # between two ways to compute in float32

KEPT_EVERY = 100  # steps

LAYERS = ("first layer", "second layer")
WORDS = {
    "normalized_entropy": "evenness (1: all alike)",
    "entropy": "entropy, nats",
    "max_weight": "largest weight",
    "mean_distance": "distance, characters",
    "self_share": "weight on itself",
    "previous_share": "weight on the character before",
    "first_share": "weight on the first character",
    "local_share": "weight within 2 characters",
    "recall": "weight on the answer",
}
"""Figures that a causal head has, in plain words; the last is a relation's."""


def measures_table(before: Reading, after: Reading) -> Table:
    """Returns a table with the figures of each layer's head, before training and after it."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for layer in LAYERS:
        table.add_column(f"{layer}\nbefore", justify="right")
        table.add_column("\nafter", justify="right", style="bold")
    columns = [_figures(head) for pair in _heads(before, after) for head in pair]
    for name, words in WORDS.items():
        table.add_row(words, *(f"{column[name]:.3f}" for column in columns))
    return table


def claims(before: Reading, after: Reading, served: Reading) -> dict[str, bool]:
    """Returns what training and serving should have shown, and whether they have.

    ``after`` is training's own module, ``served`` the layers that were exported from it.
    """
    flat, (first, second) = before.measures(), served.measures()
    evenness = min(_of(head.normalized_entropy) for head in flat)
    untrained, trained = (head.relation_shares["recall"] for head in (flat[1], second))
    uniform = uniform_share(before.texts.half)
    previous = _of(first.previous_share)
    difference = served.difference(after)
    return {
        f"before training both heads look at all nearly alike: evenness {evenness:.2f}": (
            evenness >= FLAT
        ),
        f"so the second gives {untrained:.3f} to the answer; all alike would be {uniform:.3f}": (
            abs(untrained - uniform) <= uniform / 2
        ),
        f"after training the first gives {previous:.3f} to the character before": (
            previous >= FOUND
        ),
        f"and the second {trained:.3f} to the place of the answer": trained >= FOUND,
        f"right answers were {before.right:.1%} and are {served.right:.1%}": served.right >= FOUND,
        f"the served layers' weights are training's; difference ≤ {difference:.1e}": (
            difference < CLOSE
        ),
    }


def uniform_share(half: int) -> float:
    """Returns the weight on the answer of a head that looks at everything alike."""
    asked = range(half, 2 * half)  # the query at place i sees i + 1 keys
    return sum(1 / (place + 1) for place in asked) / half


def record(moments: Sequence[Moment], before: Reading, after: Reading) -> dict[str, Any]:
    """Returns what is kept of a run: some of its moments, and the heads before and after."""
    kept = [moment for moment in moments[:-1] if moment.step % KEPT_EVERY == 0]
    return {
        "steps": moments[-1].step,
        "texts_a_step": BATCH,
        "unseen_texts": len(before.texts.ids),
        "loss_unit": "nats an answer, unseen texts",
        "moments": [
            {name: round(value, 4) for name, value in asdict(moment).items()}
            for moment in (*kept, moments[-1])
        ],
        "heads": {
            layer: {"before": _figures(untrained), "after": _figures(trained)}
            for layer, (untrained, trained) in zip(LAYERS, _heads(before, after), strict=True)
        },
    }


def _heads(before: Reading, after: Reading) -> list[tuple[HeadMeasures, HeadMeasures]]:
    """Returns the head of each layer, before and after."""
    return list(zip(before.measures(), after.measures(), strict=True))


def _figures(head: HeadMeasures) -> dict[str, float]:
    """Returns the figures of a head by the names in ``WORDS``."""
    values = {**vars(head), **head.relation_shares}
    return {name: round(values[name], 4) for name in WORDS}


def _of(figure: float | None) -> float:
    """Returns a figure that every causal head has."""
    assert figure is not None
    return figure
