"""Variants of decoders against transformers, as modules in PyTorch; nothing is exported or served.

Causality, window and padding come through the mask that the exporter's reading of them gives.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attention_export import HuggingFaceModel
from attention_service.reference import may_attend
from tests.parity.families.case import Case
from tests.parity.families.row import Family
from tests.parity.families.theirs import LARGEST_ERROR, build, observe
from tests.parity.families.variants import VARIANTS

CASES = (Case("many", length=21), Case("left padding", padding=(0, 3, 5), side="left"))


@pytest.mark.parametrize("family", VARIANTS, ids=lambda family: family.name)
def test_layers_of_a_variant_are_those_of_transformers(family: Family, tmp_path: Path) -> None:
    model = build(family)
    model.save_pretrained(tmp_path)
    saved = HuggingFaceModel(tmp_path)
    for name, row in family.layers.items():
        layer = saved.layer(name)
        for case in CASES:
            seen = observe(model, row, case)
            batch, length, _ = seen.query.shape
            sees = may_attend(
                batch=batch,
                query_len=length,
                kv_len=length,
                causal=layer.causal,
                window=layer.window,
            )
            positions = case.key_positions(row)
            places = None if positions is None else torch.from_numpy(positions)
            with torch.no_grad():
                output, weights = layer.module(
                    torch.from_numpy(seen.query),
                    attend_mask=torch.from_numpy(sees & case.key_mask(row)[:, None, None]),
                    query_positions=places,
                    key_positions=places,
                )
            errors = seen.errors(output.numpy(), weights.numpy())
            assert all(error <= LARGEST_ERROR for error in errors.values()), (name, case, errors)
