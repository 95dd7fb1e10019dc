from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from attention_export import HuggingFaceModel, SourceError
from attention_service.reference import Projections, multi_head_attention

WIDTH, HEADS, LAYERS = 12, 3, 2
CONFIG = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
}
PROJECTIONS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
}


def bert(prefix: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    tensors = {f"{prefix}embeddings.word_embeddings.weight": torch.zeros(4, WIDTH)}
    for layer in range(LAYERS):
        for name in PROJECTIONS.values():
            place = f"{prefix}encoder.layer.{layer}.{name}"
            tensors[f"{place}.weight"] = torch.randn(WIDTH, WIDTH, generator=generator)
            tensors[f"{place}.bias"] = torch.randn(WIDTH, generator=generator)
    return tensors


def written(path: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    (path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(tensors, path / "model.safetensors")
    return path


def assert_computes(directory: Path, index: int, tensors: dict[str, Tensor], prefix: str) -> None:
    place = f"{prefix}encoder.layer.{index}."
    weights = [tensors[f"{place}{name}.weight"].double().numpy().T for name in PROJECTIONS.values()]
    biases = [tensors[f"{place}{name}.bias"].double().numpy() for name in PROJECTIONS.values()]
    x = np.random.default_rng(0).standard_normal((2, 5, WIDTH)).astype(np.float32)
    right, _ = multi_head_attention(x, x, x, Projections(*weights, *biases), num_heads=HEADS)
    output, _ = HuggingFaceModel(directory).layer(index).module(torch.from_numpy(x))
    np.testing.assert_allclose(output.detach(), right, rtol=0, atol=1e-5 * np.abs(right).max())


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("index", range(LAYERS))
def test_layer_computes_what_its_tensors_say(index: int, prefix: str, tmp_path: Path) -> None:
    tensors = bert(prefix)
    assert_computes(written(tmp_path, tensors), index, tensors, prefix)


def test_shards_are_read(tmp_path: Path) -> None:
    tensors = bert()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, tmp_path / file)
    weight_map = {name: file for file, held in shards.items() for name in held}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert HuggingFaceModel(tmp_path).layer_count == LAYERS
    assert_computes(tmp_path, 1, tensors, "")


def test_source_names_family_layer_and_digest(tmp_path: Path) -> None:
    model = HuggingFaceModel(written(tmp_path, bert()))
    first, second = (model.layer(index).source for index in range(LAYERS))
    assert (second["family"], second["layer"]) == ("bert", "1")
    assert first["digest"] != second["digest"]
    assert model.layer(1).source == second
    assert set(second) == {"family", "layer", "digest"}


@pytest.mark.parametrize(("is_decoder", "causal"), [(False, "none"), (True, "lower_right")])
def test_decoder_is_causal(is_decoder: bool, causal: str, tmp_path: Path) -> None:
    written(tmp_path, bert(), is_decoder=is_decoder)
    assert HuggingFaceModel(tmp_path).layer(0).causal == causal


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    written(tmp_path, {name: tensor.bfloat16() for name, tensor in bert().items()})
    module = HuggingFaceModel(tmp_path).layer(0).module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not a family that is read; .*: bert$"),
        ({"model_type": None}, "model_type must be a string"),
        ({"hidden_size": "12"}, "hidden_size must be a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
        ({"num_attention_heads": 5}, r"must be a multiple of num_heads \(5\)"),
        ({"hidden_size": 24}, r"query\.weight is \[12, 12\], where \[24, 24\] is right"),
        ({"num_hidden_layers": 9}, r"encoder\.layer\.8\.attention\.self\.query\.weight is missing"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' adds to the scores"),
        ({"is_decoder": 1}, "is_decoder must be true or false"),
    ],
)
def test_config_that_does_not_fit_is_refused(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    written(tmp_path, bert(), **config)

    def last_layer() -> None:
        model = HuggingFaceModel(tmp_path)
        model.layer(model.layer_count - 1)

    with pytest.raises(SourceError, match=message):
        last_layer()


@pytest.mark.parametrize("index", [-1, LAYERS])
def test_layer_that_is_not_there_is_refused(index: int, tmp_path: Path) -> None:
    model = HuggingFaceModel(written(tmp_path, bert()))
    with pytest.raises(SourceError, match=rf"no layer {index}; the model has layers 0 to 1"):
        model.layer(index)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000], ids=["", "[]", "{", "deep"])
def test_config_that_is_no_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SourceError, match=r"config\.json"):
        HuggingFaceModel(tmp_path)


def test_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        HuggingFaceModel(tmp_path / "nowhere")


def test_directory_of_pickles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    torch.save(bert(), tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"only as pickles \(pytorch_model\.bin\)"):
        HuggingFaceModel(tmp_path)


def test_directory_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(SourceError, match=r"has neither model\.safetensors nor"):
        HuggingFaceModel(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": []}, "has no weight_map"),
        ({"weight_map": {"x": "../x.safetensors"}}, "no safetensors file beside it"),
        ({"weight_map": {"x": "/x.safetensors"}}, "no safetensors file beside it"),
        ({"weight_map": {"x": "pytorch_model.bin"}}, "no safetensors file beside it"),
        ({"weight_map": {"x": 1}}, "no safetensors file beside it"),
    ],
)
def test_index_that_leads_elsewhere_is_refused(
    index: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=message):
        HuggingFaceModel(tmp_path)


def test_index_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    weight_map = dict.fromkeys(bert(), "a.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    save_file({"other": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(SourceError, match=r"query\.weight is missing in a\.safetensors"):
        HuggingFaceModel(tmp_path).layer(0)
