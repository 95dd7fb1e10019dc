"""Layers that a directory is said to have: those of the encoder, of the decoder, or of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attention_export import HuggingFaceModel, SourceError
from tests.parity.families.encoder_decoders import ENCODER_DECODER_CLASSES, T5
from tests.parity.families.row import Family
from tests.parity.families.theirs import build


@pytest.mark.parametrize("family", ENCODER_DECODER_CLASSES, ids=lambda family: family.name)
def test_layers_are_those_of_the_stacks_that_were_saved(family: Family, tmp_path: Path) -> None:
    build(family).save_pretrained(tmp_path)
    assert HuggingFaceModel(tmp_path).layers == tuple(family.layers)


def test_layer_that_is_missing_in_a_stack_that_was_saved_is_named(tmp_path: Path) -> None:
    build(T5).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layers": 2}))
    model = HuggingFaceModel(tmp_path)
    assert "encoder.1" in model.layers
    with pytest.raises(SourceError, match=r"tensor encoder\.block\.1\..* is missing"):
        model.layer("encoder.1")
