"""The biases of T5: buckets as they are stored, and a table by distance as it is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from attention_export import HuggingFaceModel, SourceError
from tests.parity.families.encoder_decoders import T5
from tests.parity.families.row import Family
from tests.parity.families.theirs import build


def saved(directory: Path, **config: Any) -> Any:
    """Returns a model of transformers and saves it."""
    model = build(Family("t5", "T5Model", {**T5.config, **config}, {}))
    model.save_pretrained(directory)
    return model


def rewrite_config(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("buckets", "reach"),
    # At 9 and 128, float32 and float64 disagree on where ranges meet.
    [(32, 128), (9, 128), (8, 20), (4, 3), (7, 5), (12, 11), (13, 7), (64, 33), (5, 200)],
)
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_distances_of_any_size_have_the_bias_of_transformers(
    stack: str, buckets: int, reach: int, tmp_path: Path
) -> None:
    model = saved(
        tmp_path,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=reach,
    )
    attention = model.get_submodule(f"{stack}.block.0.layer.0.SelfAttention")
    before, length = 4 * reach, 8 * reach  # queries in the middle see as far to both sides
    right = attention.compute_bias(2, length, past_seen_tokens=before)

    name = "encoder.0" if stack == "encoder" else "decoder.1.self"  # which has that of decoder.0
    bias = HuggingFaceModel(tmp_path).layer(name).module.position_bias
    assert bias is not None
    served = bias(torch.arange(before, before + 2)[None], torch.arange(length)[None])
    assert torch.equal(served, right)  # not one distance in another bucket


def test_config_that_says_less_means_what_t5_began_with(tmp_path: Path) -> None:
    saved(
        tmp_path,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        num_decoder_layers=1,
    )
    said = HuggingFaceModel(tmp_path)

    def forget(config: dict[str, Any]) -> None:
        for name in ("num_buckets", "max_distance"):
            del config[f"relative_attention_{name}"]
        del config["num_decoder_layers"]

    rewrite_config(tmp_path, forget)
    unsaid = HuggingFaceModel(tmp_path)
    assert unsaid.layers == said.layers
    tables = [model.layer("decoder.0.self").module.state_dict() for model in (said, unsaid)]
    torch.testing.assert_close(*tables, rtol=0, atol=0)


def test_bias_of_cross_attention_that_was_never_used_is_left_out(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "model.safetensors"
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    save_file({**load_file(file), unused: torch.ones(8, 3)}, file)
    assert HuggingFaceModel(tmp_path).layer("decoder.0.cross").module.position_bias is None


@pytest.mark.parametrize(("buckets", "reach"), [(3, 12), (24, 12)])
def test_buckets_that_do_not_fit_the_distance_are_refused(
    buckets: int, reach: int, tmp_path: Path
) -> None:
    saved(tmp_path)
    rewrite_config(
        tmp_path,
        lambda config: config.update(
            relative_attention_num_buckets=buckets, relative_attention_max_distance=reach
        ),
    )
    with pytest.raises(SourceError, match=r"^config\.json: relative_attention_num_buckets must be"):
        HuggingFaceModel(tmp_path)
