"""The training loop: from random matrices to ones that look where the answer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .matrices import matrices, own_first
from .model import LONGEST, TwoLayers
from .texts import Texts, draw

__all__ = ["BATCH", "Moment", "loss_of", "train"]

BATCH = 64  # texts a step
SHORTEST_HALF = 4
LEARNING_RATE = 1e-3

WATCHED_EVERY = 10  # steps


@dataclass(frozen=True)
class Moment:
    """How far training has come, seen on texts that it is never given."""

    step: int
    loss: float
    """Nats an answer."""
    right: float
    """Share of the answers that are right."""
    previous_share: float
    """First layer: mean weight on the character before."""
    recall_share: float
    """Second layer: mean weight on the place that holds the answer."""
    looked_for: int
    """Characters that, by the matrices alone, look most for what comes after themselves."""
    answered: int
    """Characters that, by the matrices alone, are most answered with themselves."""


def train(
    model: TwoLayers, steps: int, unseen: Texts, watch: Callable[[Moment], None]
) -> list[Moment]:
    """Trains the model in place; returns what was seen before, on the way and at the end."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    moments = []
    for step in range(steps):
        if step % WATCHED_EVERY == 0:
            moments.append(_look(model, step, unseen))
            watch(moments[-1])
        # A new batch each time, of a new length, so that nothing can be learned by heart.
        texts = draw(BATCH, int(torch.randint(SHORTEST_HALF, LONGEST // 2 + 1, ())))
        loss = loss_of(model(texts.ids)[0], texts)
        # backward() goes the way back from the loss through the answer, the weighted sum, the
        # softmax and the scores, and leaves at each number of W_Q, W_K and W_V its gradient: which
        # way the loss would rise. W_V is told to hand over what the answer needs; W_Q and W_K, by
        # way of the weights, to meet where such a value lies.
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # every matrix takes a small step the other way
    moments.append(_look(model, steps, unseen))
    watch(moments[-1])
    return moments


def loss_of(answers: Tensor, texts: Texts) -> Tensor:
    """Returns the mean of -ln(probability given to the right answer), over the second halves.

    ``answers`` are scores [batch, length, characters]. In the first half there is nothing to know.
    """
    asked = answers[:, texts.half :]  # [batch, length / 2, characters]
    return nn.functional.cross_entropy(asked.flatten(0, 1), texts.answers.flatten())


@torch.no_grad()
def _look(model: TwoLayers, step: int, texts: Texts) -> Moment:
    answers, first, second = model(texts.ids)
    asked = second[:, 0, texts.half :]  # [batch, length / 2, length]
    products = matrices(model)
    return Moment(
        step=step,
        loss=loss_of(answers, texts).item(),
        right=(answers[:, texts.half :].argmax(-1) == texts.answers).float().mean().item(),
        previous_share=first[:, 0].diagonal(-1, 1, 2).mean().item(),
        recall_share=asked.gather(2, texts.answer_at[:, :, None]).mean().item(),
        looked_for=own_first(products.looked_for),
        answered=own_first(products.answered),
    )
