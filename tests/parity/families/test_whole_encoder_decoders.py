"""Encoder-decoders of transformers, every attention of which is a server's.

The server keeps nothing between calls: with each token it is sent what the layer was given for all
tokens before, which is what stands in transformers' cache here, in place of keys and values.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from attention_client import AttentionClient
from tests.parity.families.encoder_decoders import BART, T5
from tests.parity.families.row import Family
from tests.parity.families.theirs import FIRST_WORD, LAST_WORD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST_ERROR = 1e-4
"""Largest error of a logit; the largest logits are several units."""

BATCH, LENGTH, DECODER_LENGTH = 3, 17, 15  # the bias of T5 reaches 12 tokens
PADDING, DECODER_PADDING = (0, 5, 16), (4, 0, 9)


class Served:
    """What answers for one attention of transformers."""

    def __init__(self, client: AttentionClient, model: str, results: int) -> None:
        """Asks ``model``; transformers expects ``results`` values, of which the first is used."""
        self._client = client
        self._model = model
        self._results = results
        self.calls = 0

    def __call__(
        self,
        hidden_states: Tensor,  # [batch, query_len, width]
        key_value_states: Tensor | None = None,  # [batch, kv_len, width], in cross-attention
        past_key_values: Any = None,
        **given: Any,
    ) -> tuple[Tensor | None, ...]:
        """Returns the output [batch, query_len, width], and nothing else."""
        self.calls += 1
        key = key_value_states
        if key is None and past_key_values is not None:
            key = self._remembered(hidden_states, past_key_values.self_attention_cache)
        mask = given.get("attention_mask", given.get("mask"))
        # Causality is the served layer's own. The last query's row tells padding alone.
        result = self._client.attend(
            self._model,
            hidden_states.numpy(),
            None if key is None else key.numpy(),
            key_mask=None if mask is None else (mask[:, 0, -1] == 0).numpy(),
        )
        assert result.output is not None
        return torch.from_numpy(result.output.copy()), *[None] * (self._results - 1)

    def _remembered(self, hidden_states: Tensor, cache: Any) -> Tensor:
        """Returns the states of all tokens so far."""
        layer = int(self._model.split(".")[-2])
        states = hidden_states[:, None]
        remembered: Tensor = cache.update(states, states, layer)[0][:, 0]
        return remembered


def served(
    model: PreTrainedModel, family: Family, client: AttentionClient
) -> tuple[PreTrainedModel, dict[str, Served]]:
    """Returns a copy of the model whose attentions ask a server, and these."""
    copied = copy.deepcopy(model)
    attentions = {}
    for name, layer in family.layers.items():
        # T5 hands on the bias of its first layer, too.
        attention = Served(client, f"{family.name}.{name}", results=3 if family is T5 else 2)
        copied.get_submodule(layer.place).forward = attention
        attentions[name] = attention
    return copied, attentions


def mask(length: int, padding: tuple[int, ...]) -> Tensor:
    return (torch.arange(length) < length - torch.tensor(padding)[:, None]).long()


def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)

    def tokens(length: int) -> Tensor:
        return torch.randint(FIRST_WORD, LAST_WORD + 1, (BATCH, length), generator=random)

    return {
        "input_ids": tokens(LENGTH),
        "attention_mask": mask(LENGTH, PADDING),
        "decoder_input_ids": tokens(DECODER_LENGTH),
    }


def calls(attentions: Mapping[str, Served]) -> Counter[str]:
    return Counter({name: attention.calls for name, attention in attentions.items()})


@pytest.mark.parametrize("family", [T5, BART], ids=lambda family: family.name)
def test_all_tokens_at_once_give_the_same_logits(
    families_client: AttentionClient, theirs: Mapping[str, PreTrainedModel], family: Family
) -> None:
    model, attentions = served(theirs[family.name], family, families_client)
    decoder_mask = mask(DECODER_LENGTH, DECODER_PADDING)
    with torch.no_grad():
        right = theirs[family.name](**batch(), decoder_attention_mask=decoder_mask).logits
        logits = model(**batch(), decoder_attention_mask=decoder_mask).logits

    tokens = decoder_mask.bool()
    torch.testing.assert_close(logits[tokens], right[tokens], rtol=0, atol=LARGEST_ERROR)
    assert calls(attentions) == dict.fromkeys(family.layers, 1)


@pytest.mark.parametrize("family", [T5, BART], ids=lambda family: family.name)
def test_token_by_token_gives_the_same_logits(
    families_client: AttentionClient, theirs: Mapping[str, PreTrainedModel], family: Family
) -> None:
    model, attentions = served(theirs[family.name], family, families_client)
    given = batch()
    tokens = given.pop("decoder_input_ids")
    logits, cache = [], None
    with torch.no_grad():
        right = theirs[family.name](**given, decoder_input_ids=tokens).logits
        encoded = model.get_encoder()(**given)
        for i in range(DECODER_LENGTH):
            step = model(
                encoder_outputs=encoded,
                attention_mask=given["attention_mask"],
                decoder_input_ids=tokens[:, i : i + 1],
                past_key_values=cache,
                use_cache=True,
            )
            cache = step.past_key_values
            logits.append(step.logits)

    torch.testing.assert_close(torch.cat(logits, dim=1), right, rtol=0, atol=LARGEST_ERROR)
    decoder = {name: DECODER_LENGTH for name in family.layers if name.startswith("decoder")}
    assert calls(attentions) == {"encoder.0": 1, **decoder}
