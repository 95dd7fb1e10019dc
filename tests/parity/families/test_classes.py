"""What the classes of transformers save, read by the exporter; nothing is exported or served."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attention_export import HuggingFaceModel
from attention_export.sources.families import FAMILIES
from tests.parity.families.case import Case
from tests.parity.families.classes import CLASSES
from tests.parity.families.row import Family
from tests.parity.families.table import FAMILIES as ROWS
from tests.parity.families.theirs import LARGEST_ERROR, build, configuration, observe
from tests.parity.families.variants import VARIANTS


@pytest.mark.parametrize("family", CLASSES, ids=lambda family: family.name)
def test_layers_of_any_class_are_those_that_it_saved(family: Family, tmp_path: Path) -> None:
    model = build(family)
    model.save_pretrained(tmp_path)
    saved = HuggingFaceModel(tmp_path)
    for name, layer in family.layers.items():
        seen = observe(model, layer, Case("several"))
        read = saved.layer(name)
        assert read.causal == layer.causal
        with torch.no_grad():
            output, weights = read.module(
                torch.from_numpy(seen.query),
                None if seen.key is None else torch.from_numpy(seen.key),
                attend_mask=torch.from_numpy(seen.attends[:, None]),
            )
        errors = seen.errors(output.numpy(), weights.numpy())
        assert all(error <= LARGEST_ERROR for error in errors.values()), (name, errors)


def test_every_family_that_is_read_is_compared_with_transformers() -> None:
    read = {model_type for family in FAMILIES for model_type in family.model_types}
    assert read == {configuration(row).model_type for row in (*ROWS, *CLASSES, *VARIANTS)}
