"""The shape of each tensor of an answer, before it is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attention_server.domain.limits import answer_shapes, head_shapes
from attention_server.domain.model import SDPA, AttentionSettings
from attention_server.domain.request import Outputs, Rows, Sizes, WeightRows

_SIZES = Sizes(batch=2, query_len=3, kv_len=7, query_dim=20, key_dim=10, value_dim=12)
_SETTINGS = AttentionSettings(num_heads=4, num_kv_heads=2, scale=1.0)
_NOTHING = Outputs(output=False)
_ONE_TWO = np.array([1, 2], np.intp)


@pytest.mark.parametrize(
    ("outputs", "shapes"),
    [
        (_NOTHING, {}),
        (Outputs(), {"output": (2, 3, 24)}),
        (replace(_NOTHING, weights=WeightRows()), {"weights": (2, 4, 3, 7)}),
        (
            replace(_NOTHING, weights=WeightRows(heads=_ONE_TWO, query_indices=_ONE_TWO)),
            {"weights": (2, 2, 2, 7)},
        ),
        (
            replace(_NOTHING, weights=WeightRows(heads=_ONE_TWO, average_heads=True)),
            {"weights": (2, 1, 3, 7)},
        ),
        (
            replace(_NOTHING, weights=WeightRows(top_k=5)),
            {"weights": (2, 4, 3, 5), "weight_key_indices": (2, 4, 3, 5)},
        ),
        (
            replace(_NOTHING, weights=WeightRows(top_k=9)),
            {"weights": (2, 4, 3, 7), "weight_key_indices": (2, 4, 3, 7)},
        ),
        (replace(_NOTHING, scores=Rows(query_indices=_ONE_TWO)), {"scores": (2, 4, 2, 7)}),
        (
            replace(_NOTHING, projections=True),
            {
                "query_heads": (2, 4, 3, 5),
                "key_heads": (2, 2, 7, 5),
                "value_heads": (2, 2, 7, 6),
            },
        ),
        (replace(_NOTHING, head_outputs=True), {"head_outputs": (2, 4, 3, 6)}),
        (replace(_NOTHING, log_sum_exp=True), {"log_sum_exp": (2, 4, 3)}),
    ],
    ids=[
        "nothing",
        "output",
        "weights",
        "selected weights",
        "mean weights",
        "largest weights",
        "more of the largest weights than there are",
        "selected scores",
        "projections",
        "head outputs",
        "log-sum-exp",
    ],
)
def test_shapes_of_an_answer_are_known_beforehand(
    outputs: Outputs, shapes: dict[str, tuple[int, ...]]
) -> None:
    assert answer_shapes(outputs, _SETTINGS, SDPA, _SIZES) == shapes


def test_model_that_comes_whole_computes_all_weights() -> None:
    whole = replace(SDPA, query_dim=20, output_dim=9)

    assert head_shapes(_SETTINGS, whole, _SIZES) == {"weights": (2, 4, 3, 7)}
    assert answer_shapes(Outputs(weights=WeightRows(top_k=2)), _SETTINGS, whole, _SIZES) == {
        "output": (2, 3, 9),
        "weights": (2, 4, 3, 2),
        "weight_key_indices": (2, 4, 3, 2),
    }


def test_a_model_s_own_sizes_win() -> None:
    model = replace(SDPA, query_dim=20, output_dim=9, head_dim=3, value_head_dim=2)
    everything = Outputs(projections=True, head_outputs=True)

    shapes = answer_shapes(everything, _SETTINGS, model, _SIZES)

    assert shapes["output"] == (2, 3, 9)
    assert shapes["query_heads"] == (2, 4, 3, 3)
    assert shapes["value_heads"] == (2, 2, 7, 2)
    assert shapes["head_outputs"] == (2, 4, 3, 2)
