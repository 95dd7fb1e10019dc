"""Trains the demo's attention layer: ``python -m examples.demo.train``."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

from attention_client.explore.characters import MASK, SPECIAL_ROWS, CharacterEmbedding, Vocabulary

from .character_model import CharacterModel
from .corpus import LONGEST, corpus_name, read_sentences, vocabulary_of

BATCH = 64
CHARACTERS = 3_000  # cover 99.6 % of the corpus
PEAK_LEARNING_RATE = 1.5e-3  # more, and heads end as one-hot rows
WARM_UP = 200  # steps
HELD_OUT = 1_024  # sentences that training never sees

Batch = tuple[Tensor, Tensor]  # ids [batch, length], lengths [batch]


def main(command_line: Sequence[str] | None = None) -> None:
    """Trains, prints the loss before and after, and writes weights, table and record."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.train", description=__doc__)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args(command_line)

    started = time.monotonic()
    torch.manual_seed(arguments.seed)
    # Batches differ in length, and oneDNN would build and keep kernels for every length: several
    # times slower, gigabytes of memory.
    torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
    sentences = read_sentences()
    vocabulary = vocabulary_of(sentences, CHARACTERS)
    order = torch.randperm(len(sentences)).tolist()
    held_out = _batch([sentences[i] for i in order[:HELD_OUT]], vocabulary)
    model = CharacterModel(len(vocabulary), LONGEST)

    before = _losses(model, held_out)
    _train(model, arguments.steps, _batches(sentences, order[HELD_OUT:], vocabulary))
    after = _losses(model, held_out)
    seconds = time.monotonic() - started

    for task in before:
        print(f"{task}: loss {before[task]:.2f} -> {after[task]:.2f} nats a character")
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(model.attention.state_dict(), arguments.out / "attention.safetensors")
    CharacterEmbedding(vocabulary, model.table().detach().numpy()).save(arguments.out)
    record = {
        "corpus": corpus_name(),
        "sentences": len(sentences),
        "seed": arguments.seed,
        "steps": arguments.steps,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds),
        "loss_unit": "nats a character, held-out sentences",
        "loss_before": before,
        "loss_after": after,
    }
    (arguments.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def _train(model: CharacterModel, steps: int, batches: Iterator[Batch]) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
    )
    columns = ("training", BarColumn(), "{task.completed}/{task.total}")
    clocks = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]}"))
    with Progress(*columns, *clocks) as progress:
        bar = progress.add_task("training", total=steps, loss="")
        for step in range(steps):
            # In turn, so that the same heads learn with the causal mask and without it.
            causal = step % 2 == 0
            loss = _loss(model, next(batches), causal=causal)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if causal:
                progress.update(bar, completed=step + 1, loss=f"{loss.item():.2f}")


def _loss(model: CharacterModel, batch: Batch, *, causal: bool) -> Tensor:
    """Returns the mean cross-entropy in nats: next characters if causal, else hidden ones."""
    ids, lengths = batch
    place = torch.arange(ids.shape[1])
    if causal:
        targets = place < lengths[:, None] - 1
        logits = model(ids, lengths, targets, causal=True)
        return nn.functional.cross_entropy(logits, ids.roll(-1, 1)[targets])
    targets = (torch.rand(ids.shape) < 0.2) & (place < lengths[:, None])
    logits = model(_hide(ids, targets), lengths, targets, causal=False)
    return nn.functional.cross_entropy(logits, ids[targets])


def _hide(ids: Tensor, targets: Tensor) -> Tensor:
    """Returns ids with 70 % of the targets masked, 15 % exchanged and 15 % as they were.

    (Devlin et al. 2019, "BERT", section 3.1.) Without the last two, rows of ordinary characters
    would never be trained without the causal mask.
    """
    draw = torch.rand(ids.shape)
    other = torch.randint(SPECIAL_ROWS, SPECIAL_ROWS + CHARACTERS, ids.shape)
    hidden = torch.where(targets & (draw < 0.7), MASK, ids)
    return torch.where(targets & (draw > 0.85), other, hidden)


@torch.no_grad()
def _losses(model: CharacterModel, held_out: Batch) -> dict[str, float]:
    with torch.random.fork_rng():  # the same characters are hidden before and after
        torch.manual_seed(0)
        next_character = _loss(model, held_out, causal=True).item()
        masked_character = _loss(model, held_out, causal=False).item()
    return {
        "next_character": round(next_character, 3),
        "masked_character": round(masked_character, 3),
    }


def _batches(sentences: list[str], order: list[int], vocabulary: Vocabulary) -> Iterator[Batch]:
    while True:
        shuffled = [order[i] for i in torch.randperm(len(order)).tolist()]
        for start in range(0, len(shuffled) - BATCH + 1, BATCH):
            yield _batch([sentences[i] for i in shuffled[start : start + BATCH]], vocabulary)


def _batch(sentences: list[str], vocabulary: Vocabulary) -> Batch:
    ids, lengths = vocabulary.ids(sentences)
    return torch.from_numpy(ids), torch.from_numpy(lengths)


if __name__ == "__main__":
    main()
