from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from attention_export import HuggingFaceModel, SourceError
from attention_export.cli.arguments import parse
from attention_export.cli.jobs import jobs
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

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"


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
    output, _ = HuggingFaceModel(directory).layer(str(index)).module(torch.from_numpy(x))
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
    assert HuggingFaceModel(tmp_path).layers == ("0", "1")
    assert_computes(tmp_path, 1, tensors, "")


def test_source_names_family_layer_and_digest(tmp_path: Path) -> None:
    model = HuggingFaceModel(written(tmp_path, bert()))
    first, second = (model.layer(name).source for name in model.layers)
    assert (second["family"], second["layer"]) == ("bert", "1")
    assert first["digest"] != second["digest"]
    assert model.layer("1").source == second
    assert set(second) == {"family", "layer", "digest"}


@pytest.mark.parametrize(("is_decoder", "causal"), [(False, "none"), (True, "lower_right")])
def test_decoder_is_causal(is_decoder: bool, causal: str, tmp_path: Path) -> None:
    written(tmp_path, bert(), is_decoder=is_decoder)
    assert HuggingFaceModel(tmp_path).layer("0").causal == causal


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    written(tmp_path, {name: tensor.bfloat16() for name, tensor in bert().items()})
    module = HuggingFaceModel(tmp_path).layer("0").module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "mamba"},
            r"'mamba' is not a family that is read; those are: .*\bbert\b",
        ),
        ({"model_type": None}, "model_type must be a string"),
        ({"hidden_size": "12"}, "hidden_size must be a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
        ({"num_attention_heads": 5}, r"must be a multiple of num_attention_heads \(5\)"),
        ({"hidden_size": 24}, r"query\.weight is \[12, 12\], where \[24, 24\] is right"),
        ({"num_hidden_layers": 9}, r"encoder\.layer\.8\.attention\.self\.query\.weight is missing"),
        ({"add_cross_attention": True}, r"crossattention\.self\.query\.weight is missing"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' adds to the scores"),
        ({"is_decoder": 1}, "is_decoder must be true or false"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            r"^the weights are quantized \(gptq\); save them in float first$",
        ),
    ],
)
def test_config_that_does_not_fit_is_refused(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    written(tmp_path, bert(), **config)

    def last_layer() -> None:
        model = HuggingFaceModel(tmp_path)
        model.layer(model.layers[-1])

    with pytest.raises(SourceError, match=message):
        last_layer()


def test_weights_without_any_attention_are_refused(tmp_path: Path) -> None:
    model = HuggingFaceModel(written(tmp_path, bert("other.")))
    looked_for = r"^tensor (encoder\.layer\.1\.\S+) or bert\.\1 is missing$"
    with pytest.raises(SourceError, match=looked_for):
        model.layer("1")


@pytest.mark.parametrize("name", ["-1", "2", "encoder.0", ""])
def test_layer_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    model = HuggingFaceModel(written(tmp_path, bert()))
    with pytest.raises(SourceError, match=rf"no layer {name!r}; the model has layers 0 to 1"):
        model.layer(name)


@pytest.mark.parametrize(
    ("name", "refused"),
    [("self.distance_embedding.weight", True), ("output.LayerNorm.weight", False)],
)
def test_tensor_that_attention_is_not_known_to_have_is_refused(
    name: str, refused: bool, tmp_path: Path
) -> None:
    tensors = {**bert("bert."), f"bert.encoder.layer.1.attention.{name}": torch.zeros(1)}
    model = HuggingFaceModel(written(tmp_path, tensors))
    with pytest.raises(SourceError, match=name) if refused else nullcontext():
        model.layer("1")
    model.layer("0")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000], ids=["", "[]", "{", "deep"])
def test_config_that_is_no_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SourceError, match=r"config\.json"):
        HuggingFaceModel(tmp_path)


def test_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: no such directory; download the model first"):
        HuggingFaceModel(tmp_path / "nowhere")


def test_file_instead_of_a_directory_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, bert()) / "model.safetensors"
    with pytest.raises(SourceError, match=r"model\.safetensors is a file; give its directory$"):
        HuggingFaceModel(file)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has no config\.json$"),
        ({"adapter_config.json": "{}"}, r"holds an adapter \(LoRA\); merge it into its model"),
        (
            {"model_index.json": "{}", "vae/config.json": "{}", "text_encoder/config.json": "{}"},
            "pipeline of models; give the directory of one: text_encoder, vae$",
        ),
        ({"llama-q4.gguf": ""}, r"has no config\.json, but llama-q4\.gguf alone$"),
        ({"config.json": "{}"}, r"^config\.json: model_type is missing$"),
        (
            {"config.json": json.dumps(CONFIG), "consolidated.safetensors": ""},
            r"index\.json, but consolidated\.safetensors, which is not read$",
        ),
        (
            {"config.json": json.dumps(CONFIG), "model.safetensors": LFS_POINTER},
            r"model\.safetensors is a Git LFS pointer; run: git lfs pull$",
        ),
    ],
)
def test_directory_that_holds_something_else_is_refused(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        HuggingFaceModel(tmp_path)


def test_missing_tensor_is_looked_for_where_the_others_are(tmp_path: Path) -> None:
    tensors = bert("bert.")
    missing = "bert.encoder.layer.0.attention.self.query.weight"
    del tensors[missing]
    with pytest.raises(SourceError, match=f"^tensor {missing} is missing$"):
        HuggingFaceModel(written(tmp_path, tensors)).layer("0")


KEY = "encoder.layer.1.attention.self.key.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({KEY: None}, "is missing"),
        ({KEY: torch.zeros(3, 3)}, r"is \[3, 3\], where \[12, 12\] is right"),
        ({KEY: torch.zeros(12, 12, dtype=torch.int8)}, "holds I8, where float16, "),
        ({f"{KEY}_scale": torch.zeros(1)}, "is not one that"),
    ],
    ids=["missing", "misshapen", "integers", "unknown"],
)
def test_all_chosen_layers_are_checked_before_the_first_is_read(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    tensors = {name: x for name, x in {**bert(), **change}.items() if x is not None}
    directory = str(written(tmp_path, tensors))
    where = ["--name", "bert", "--out", str(tmp_path / "models")]
    with pytest.raises(SourceError, match=message):
        jobs(parse(["huggingface", directory, *where]))
    assert len(jobs(parse(["huggingface", directory, *where, "--layers", "0"]))) == 1


def test_shard_that_was_not_downloaded_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(bert(), "a.safetensors")}))
    said = rf"^{tmp_path}/a\.safetensors cannot be read as safetensors: no such file$"
    with pytest.raises(SourceError, match=said):
        HuggingFaceModel(tmp_path).check("0")


def test_context_length_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a context length changes nothing here"):
        HuggingFaceModel(written(tmp_path, bert()), context_length=512)


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
        HuggingFaceModel(tmp_path).layer("0")
