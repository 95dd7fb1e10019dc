"""Layers of Hugging Face models, exported and served, against transformers' own attention.

No request repeats what a layer brings: causality, window, scale, softcap are the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from attention_client import AttentionClient
from tests.parity.families.case import Case, cases
from tests.parity.families.table import LAYERS, Asked
from tests.parity.families.theirs import LARGEST_ERROR, observe

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.mark.parametrize(
    ("asked", "case"),
    [
        pytest.param(asked, case, id=f"{asked.model}: {case.name}")
        for asked in LAYERS
        for case in cases(asked.layer)
    ],
)
def test_served_layer_gives_output_and_weights_of_transformers(
    families_client: AttentionClient,
    theirs: Mapping[str, PreTrainedModel],
    asked: Asked,
    case: Case,
) -> None:
    seen = observe(theirs[asked.family.name], asked.layer, case)

    result = families_client.attend(
        asked.model, seen.query, seen.key, weights=True, **case.keywords(asked.layer)
    )

    errors = seen.errors(result.output, result.weights)
    assert all(error <= LARGEST_ERROR for error in errors.values()), errors


@pytest.mark.parametrize("asked", LAYERS, ids=repr)
def test_server_describes_the_layer(
    families_client: AttentionClient, theirs: Mapping[str, PreTrainedModel], asked: Asked
) -> None:
    layer = asked.layer
    model = families_client.get_model(asked.model)
    assert model.defaults == layer.settings
    assert model.positions == layer.positions
    assert model.source["family"] == theirs[asked.family.name].config.model_type
    assert model.source["layer"] == asked.layer_name
    assert {model.query_dim, model.key_dim, model.value_dim, model.output_dim} == {layer.width}
    assert {model.head_dim, model.value_head_dim} == {layer.head_dim}


@pytest.mark.parametrize("asked", LAYERS, ids=repr)
def test_request_that_says_nothing_gets_what_the_layer_brings(
    families_client: AttentionClient, asked: Asked
) -> None:
    # As many queries as keys: a causal layer that uses positions needs no word about places.
    states = np.ones((1, 3, asked.layer.width), np.float32)
    assert families_client.attend(asked.model, states).applied == asked.layer.settings
