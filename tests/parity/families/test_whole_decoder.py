"""Decoders whose every attention is served, against the same models as transformers runs them.

Logits of prompts, and of the tokens that follow, one by one. The server keeps nothing between
calls: with a new token go the states of all that came before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from attention_client import AttentionClient
from tests.parity.families.decoders import DECODERS
from tests.parity.families.row import Family
from tests.parity.families.theirs import FIRST_WORD, LAST_WORD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE = [family for family in DECODERS if family.name in ("llama", "gemma3")]
PADDINGS = {"one length": (0, 0), "left padding": (0, 7, 3)}
LENGTH = 11  # of the longest prompt, which is more than windows are
NEW_TOKENS = 8
LARGEST_ERROR = 1e-4


class Served:
    """Asks a server for the attention of one layer, and keeps the states of earlier tokens."""

    def __init__(self, client: AttentionClient, model: str) -> None:
        self._client = client
        self._model = model
        self._states: Tensor | None = None

    def __call__(
        self, hidden_states: Tensor, key_mask: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the output [batch, query_len, width] for the states that are new."""
        new = hidden_states.shape[1]
        earlier = () if self._states is None else (self._states,)
        self._states = torch.cat((*earlier, hidden_states), dim=1)
        result = self._client.attend(
            self._model,
            hidden_states,
            self._states,
            key_mask=key_mask,
            query_positions=positions(key_mask)[:, -new:],
            key_positions=positions(key_mask),
        )
        return torch.tensor(result.output), None


def positions(key_mask: Tensor) -> Tensor:
    """Returns places that count from the first token, int64 [batch, length]; padding's is 0."""
    return (key_mask.cumsum(dim=1) - 1).clamp(min=0)


@torch.inference_mode()
@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS.keys())
@pytest.mark.parametrize("family", WHOLE, ids=[family.name for family in WHOLE])
def test_decoder_with_served_attention_gives_the_logits_of_transformers(
    families_client: AttentionClient,
    theirs: Mapping[str, PreTrainedModel],
    family: Family,
    padding: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = theirs[family.name]
    random = torch.Generator().manual_seed(1)
    prompt = torch.randint(FIRST_WORD, LAST_WORD + 1, (len(padding), LENGTH), generator=random)
    mask = torch.arange(LENGTH) >= torch.tensor(padding)[:, None]
    whole = model(prompt, attention_mask=mask.long(), position_ids=positions(mask)).logits
    generated = model.generate(
        prompt,
        attention_mask=mask.long(),
        do_sample=False,
        min_new_tokens=NEW_TOKENS,
        max_new_tokens=NEW_TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )

    for name, layer in family.layers.items():
        served = Served(families_client, f"{family.name}.{name}")
        monkeypatch.setattr(model.get_submodule(layer.place), "forward", served)

    def forward(tokens: Tensor, mask: Tensor) -> Tensor:
        new = positions(mask)[:, -tokens.shape[1] :]
        logits: Tensor = model(tokens, position_ids=new, key_mask=mask, use_cache=False).logits
        return logits

    logits = forward(prompt, mask)
    assert (logits - whole)[mask].abs().max() <= LARGEST_ERROR
    chosen = []
    for expected in generated.logits:
        assert (logits[:, -1] - expected).abs().max() <= LARGEST_ERROR
        chosen.append(logits[:, -1].argmax(dim=-1, keepdim=True))
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        logits = forward(chosen[-1], mask)
    assert torch.equal(torch.cat(chosen, dim=1), generated.sequences[:, LENGTH:])
