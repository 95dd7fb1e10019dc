"""The five parts of the demo: each asks the server and shows what it answers.

Every score, weight and head output shown is the server's, the mean of the heads included. numpy
adds them up, and computes them again to check the server.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

from attention_client import AttentionClient, WeightsSpec
from attention_client.explore.characters import CharacterEmbedding
from attention_client.viz.maps import WeightMap, maps_of
from attention_client.viz.terminal import bar_table, heat_table, score_table

__all__ = ["Report"]

MODEL = "demo"
TOLERANCE = 1e-5  # between float32 and float64

Floats = NDArray[np.floating[Any]]


class Report:
    """Asks the server and prints what it answers."""

    def __init__(
        self, console: Console, client: AttentionClient, embedding: CharacterEmbedding
    ) -> None:
        self._console = console
        self._client = client
        self._embedding = embedding

    def three_steps(self, sentence: str, place: int) -> None:
        """Shows what the character at ``place`` attends to: similarity, softmax, weighted sum."""
        embedded, _ = self._embedding.embed(sentence)  # [1, length, width]
        answer = self._client.attend(
            MODEL, embedded, weights=True, scores=True, projections=True, head_outputs=True
        )
        query, key = _of(answer.query_heads), _of(answer.key_heads)
        value = _of(answer.value_heads)  # [heads, kv_len, value_head_dim]
        scores, weights = _of(answer.scores), _of(answer.weights)  # [heads, query, kv]
        head_outputs = _of(answer.head_outputs)  # [heads, query_len, value_head_dim]
        heads = range(len(weights))
        means = self._mean(embedded)  # [1, query_len, kv_len]
        mean = means[0, place]  # [kv_len]

        self._title(1, f"What {sentence[place]} attends to in {sentence}")
        self._say("[b]Similarity[/b]  score = scale · (q · k), for each head")
        self._show(score_table(sentence, {f"head {h}": scores[h, place] for h in heads}))
        products = answer.applied.scale * (_double(query) @ _double(key).swapaxes(-1, -2))
        self._check_close("scale · (q · k) in float64 gives the scores", products, scores)

        self._say("[b]Softmax[/b]  weight = exp(score) / Σ exp(score)")
        columns = {f"head {h}": weights[h, place] for h in heads}
        self._show(bar_table(sentence, {**columns, "mean": mean}))
        self._check_sums(weights)
        self._check_close(
            "the mean of the heads in float64 is the mean served",
            _double(weights).mean(axis=0, keepdims=True),
            means,
        )

        self._say("[b]Weighted sum[/b]  head output = Σ weight · v, the first of its numbers")
        recomputed = _double(weights) @ _double(value)
        self._show(_compared(head_outputs[:, place], recomputed[:, place]))
        self._check_close(
            "weights @ values in float64 gives the head outputs", recomputed, head_outputs
        )
        most = int(np.delete(mean, place).argmax())
        most += most >= place  # its index with the character itself counted
        self._say(
            f"On average {sentence[place]} keeps {mean[place]:.0%} for itself; "
            f"of the others {sentence[most]} gets most, {mean[most]:.0%}."
        )

    def causal_mask(self, sentence: str, place: int) -> None:
        """Shows the weights of the character at ``place`` with and without the causal mask."""
        embedded, _ = self._embedding.embed(sentence)
        free = self._heads_and_mean(embedded)  # [heads + 1, query_len, kv_len]
        causal = self._heads_and_mean(embedded, causal="lower_right")
        everything = np.ones(len(sentence), np.bool_)
        past = np.arange(len(sentence)) <= place

        self._title(2, f"{sentence[place]} with and without the causal mask, in per cent")
        rows = []
        for name, without, masked in _by_head(free[:, place], causal[:, place]):
            rows += [(name, without, everything), ("  causal", masked, past), ("", masked, past)]
        self._show(heat_table(sentence, rows[:-1]))
        later = np.triu(np.ones(free.shape[-2:], np.bool_), 1)
        self._check("the weight on every later character is exactly 0", not causal[:, later].any())
        moved = float(free[-1, place, ~past].sum())
        self._say(f"Without the mask {sentence[place]} spends {moved:.0%} on later characters.")

    def padded_batch(self, longer: str, shorter: str) -> None:
        """Shows that padding gets no weight and changes no answer."""
        embedded, lengths = self._embedding.embed(longer, shorter)  # [2, longest, width]
        places = {"kv_lengths": lengths.tolist()}
        weights = self._heads_and_mean(embedded, sequence=1, **places)
        batched = self._client.attend(MODEL, embedded, **places)
        alone = self._client.attend(MODEL, self._embedding.embed(shorter)[0])
        end = len(shorter)
        real = np.arange(len(longer)) < end
        tokens = [*shorter, *"␣" * (len(longer) - end)]

        self._title(3, f"One padded batch: {longer} and {shorter}")
        self._say(f"{shorter[-1]} in the second sentence; ␣ is padding; in per cent")
        by_head = _by_head(weights[:, end - 1])
        self._show(heat_table(tokens, [(name, row, real) for name, row in by_head]))
        on_padding = weights[:, :end, end:]
        total = float(on_padding.sum())
        self._check(f"the weight on padding is exactly 0; its sum is {total}", not on_padding.any())
        output = _of(batched.output, 1)[:end]
        self._check_close(f"{shorter} alone has the same output", output, _of(alone.output))

    def cross_attention(self, asking: str, asked: str) -> None:
        """Shows what each character of one sentence attends to in another."""
        query, _ = self._embedding.embed(asking)
        key, _ = self._embedding.embed(asked)
        weights = self._heads_and_mean(query, key)  # [heads + 1, query_len, kv_len]
        rows = zip(asking, weights[-1], strict=True)
        everything = np.ones(len(asked), np.bool_)

        self._title(4, f"Cross-attention: {asking} looks at {asked}")
        self._say("Rows are queries, columns are keys; the mean over the heads, in per cent")
        self._show(heat_table(asked, [(character, row, everything) for character, row in rows]))
        self._check_sums(weights[:-1])

    def pictures(self, sentence: str, place: int, path: Path, row: Path) -> None:
        """Writes heat maps of all heads, without and with the causal mask, and of one character."""
        from attention_client.viz.figure import draw  # takes a second: the text comes first
        from attention_client.viz.maps import by_head

        free = self._maps(sentence)
        causal = self._maps(sentence, causal="lower_right")
        heads = draw(
            [*free, *causal], across=len(free), row_names=("no mask", "causal mask"), width=16.4
        )
        one = replace(by_head(free, place), title=f"What {sentence[place]} attends to")

        self._title(5, "All heads as pictures")
        for figure, file in ((heads, path), (draw([one]), row)):
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=140)
            self._say(f"Written to [b]{file}[/b]")

    def _maps(self, sentence: str, **places: Any) -> list[WeightMap]:
        """Returns maps of each head, then of their mean, all as the server gives them."""
        embedded, _ = self._embedding.embed(sentence)
        asked = (True, WeightsSpec(average_heads=True))
        answers = (
            self._client.attend(MODEL, embedded, weights=spec, output=False, **places)
            for spec in asked
        )
        return [each for answer in answers for each in maps_of(answer, sentence)]

    def _heads_and_mean(
        self, query: Floats, key: Floats | None = None, *, sequence: int = 0, **places: Any
    ) -> Floats:
        """Returns the weights of each head, then of their mean: [heads + 1, query_len, kv_len]."""
        answer = self._client.attend(MODEL, query, key, weights=True, output=False, **places)
        mean = self._mean(query, key, sequence=sequence, **places)
        return np.concatenate([_of(answer.weights, sequence), mean])

    def _mean(
        self, query: Floats, key: Floats | None = None, *, sequence: int = 0, **places: Any
    ) -> Floats:
        """Returns the mean of the heads' weights, taken by the server: [1, query_len, kv_len]."""
        spec = WeightsSpec(average_heads=True)
        answer = self._client.attend(MODEL, query, key, weights=spec, output=False, **places)
        return _of(answer.weights, sequence)

    def _title(self, number: int, text: str) -> None:
        self._console.print()
        self._console.print(Rule(f"[b]{number}  {text}[/b]", align="left", style="cyan"))

    def _say(self, text: str) -> None:
        self._console.print(Padding(text, (1, 0, 0, 2), expand=False))

    def _show(self, table: Table) -> None:
        self._console.print(Padding(table, (1, 0, 1, 4), expand=False))

    def _check(self, claim: str, holds: bool) -> None:
        mark = "[green]✓[/green]" if holds else "[bold red]✗[/bold red]"
        self._console.print(Padding(f"{mark} {claim}", (0, 0, 0, 2), expand=False))
        if not holds:
            raise SystemExit(1)

    def _check_close(self, claim: str, ours: Floats, served: Floats) -> None:
        difference = float(np.abs(ours - served).max())
        size = f"difference ≤ {difference:.1e}" if difference else "no difference at all"
        self._check(f"{claim}; {size}", difference < TOLERANCE)

    def _check_sums(self, weights: Floats) -> None:
        sums = weights.sum(axis=-1, dtype=np.float64)  # [heads, query_len]
        self._check_close(f"all {sums.size} rows of weights sum to 1", np.ones_like(sums), sums)


def _of(tensor: Floats | None, sequence: int = 0) -> Floats:
    """Returns one sequence's part of a tensor that was asked for."""
    assert tensor is not None
    return np.asarray(tensor[sequence])


def _double(tensor: Floats) -> Floats:
    return tensor.astype(np.float64)


def _by_head(*tensors: Floats) -> list[tuple[Any, ...]]:
    """Returns (name, row, ...) for each head and the mean; tensors are [heads + 1, kv_len]."""
    names = [*(f"head {head}" for head in range(len(tensors[0]) - 1)), "mean"]
    return list(zip(names, *tensors, strict=True))


def _compared(served: Floats, recomputed: Floats) -> Table:
    """Returns the first numbers of [heads, value_head_dim], and the largest difference of all."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "served head output", "weights @ values", "difference"):
        table.add_column(name, no_wrap=True)
    for head, (theirs, ours) in enumerate(zip(served, recomputed, strict=True)):
        difference = f"{float(np.abs(ours - theirs).max()):.1e}"
        numbers = (" ".join(f"{number:5.2f}" for number in row[:4]) for row in (theirs, ours))
        table.add_row(f"head {head}", *numbers, difference)
    return table
