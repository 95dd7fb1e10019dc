"""What the two layers do with texts: in training's own process, or exported and served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_client import AttentionClient
from attention_export import export
from attention_service.head_measures import HeadMeasures, head_measures

from .model import TwoLayers
from .texts import Texts

__all__ = ["Reading", "export_layers", "read_in_process", "read_over_grpc"]

FIRST, SECOND = "recall.0", "recall.1"

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Reading:
    """Where each layer looked, and what the model answered."""

    texts: Texts
    first: Floats
    """Weights of the first layer, [batch, 1, length, length]."""
    second: Floats
    """Weights of the second layer, [batch, 1, length, length]."""
    answers: Floats
    """Scores [batch, length, characters]."""

    @property
    def right(self) -> float:
        """Share of the questions with the right answer."""
        answered = self.answers[:, self.texts.half :].argmax(-1)
        return float((answered == self.texts.answers.numpy()).mean())

    def measures(self) -> tuple[HeadMeasures, HeadMeasures]:
        """Returns the figures of the first layer's head and of the second's."""
        length = self.first.shape[-1]
        already_read = np.tril(np.ones((length, length), np.bool_))
        places = np.arange(length)[None]
        relations = {"recall": self.texts.pairs()}
        first, second = (
            head_measures(w, in_sight=already_read, places=places, relations=relations)[0]
            for w in (self.first, self.second)
        )
        return first, second

    def difference(self, other: Reading) -> float:
        """Returns the largest difference between the two readings' weights."""
        return max(
            float(np.abs(self.first - other.first).max()),
            float(np.abs(self.second - other.second).max()),
        )


@torch.no_grad()
def read_in_process(model: TwoLayers, texts: Texts) -> Reading:
    """Returns what the model itself does with the texts."""
    answers, first, second = model(texts.ids)
    return Reading(texts, first.numpy(), second.numpy(), answers.numpy())


def export_layers(model: TwoLayers, models: Path) -> None:
    """Writes both layers to the directory of models, verified, for a server to serve."""
    source = {"family": "two layers", "trained_on": "random texts that say each character twice"}
    for name, layer in ((FIRST, model.first), (SECOND, model.second)):
        export(layer, models=models, name=name, causal="lower_right", source=source, overwrite=True)


def read_over_grpc(client: AttentionClient, model: TwoLayers, texts: Texts) -> Reading:
    """Returns what the served layers do with the texts: attention is all the server's.

    The model gives the embeddings before them and the answers after them. That a place sees
    nothing that comes after it is the served layers' own setting.
    """
    character, place = _array(model.character.weight), _array(model.place.weight)
    x = character[texts.ids.numpy()] + place[: texts.ids.shape[1]]  # [batch, length, width]
    first = client.attend(FIRST, x, weights=True)
    assert first.output is not None
    assert first.weights is not None
    second = client.attend(SECOND, x + first.output, weights=True)
    assert second.output is not None
    assert second.weights is not None
    answers = second.output @ _array(model.answer.weight).T + _array(model.answer.bias)
    return Reading(texts, first.weights, second.weights, answers)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().numpy()
    return array
