"""Types in which tensors travel: computing is float32 whatever comes in and goes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_client import AttentionClient
from attention_service.reference import Projections
from tests.parity.cases import LOWEST, Case
from tests.parity.closeness import errors, tolerance
from tests.parity.draws import DTYPES, cases

_EVERYTHING: dict[str, Any] = {
    "weights": True,
    "scores": True,
    "projections": True,
    "head_outputs": True,
    "log_sum_exp": True,
}


@given(case=cases(dtypes=tuple(DTYPES)), parts=st.sets(st.sampled_from(sorted(_EVERYTHING))))
def test_what_comes_in_any_type_is_computed_as_in_float32(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    parts: set[str],
) -> None:
    result = case.ask(client, **dict.fromkeys(parts, True))

    expected = case.expected(projections)
    bound = tolerance(expected.largest_score)
    assert {n: e for n, e in errors(result, expected).items() if e > bound} == {}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@given(case=cases())
def test_what_goes_out_is_the_float32_answer_rounded(
    client: AttentionClient, dtype: Literal["float16", "bfloat16"], case: Case
) -> None:
    exact = case.ask(client, **_EVERYTHING).arrays()

    narrow = case.ask(client, dtype=dtype, **_EVERYTHING).arrays()

    for name, tensor in narrow.items():
        right = exact[name] if name == "log_sum_exp" else exact[name].astype(DTYPES[dtype])
        assert np.array_equal(tensor, right)


@pytest.mark.parametrize(
    ("dtype", "comes_as"),
    [("float32", np.float32), ("float16", np.float16), ("bfloat16", np.float32)],
)
def test_an_answer_comes_in_the_type_asked_for_log_sum_exp_and_indices_in_their_own(
    client: AttentionClient, dtype: Literal["float32", "float16", "bfloat16"], comes_as: type
) -> None:
    query = np.ones((1, 2, 4), np.float32)

    arrays = client.attend("sdpa", query, num_heads=2, dtype=dtype, **_EVERYTHING).arrays()

    assert {name: tensor.dtype for name, tensor in arrays.items()} == {
        **dict.fromkeys(arrays, np.dtype(comes_as)),
        "log_sum_exp": np.dtype(np.float32),
    }


@pytest.mark.parametrize(
    ("dtype", "fits", "too_large"), [("float16", 65504.0, 1e5), ("bfloat16", 3.38e38, 3.4e38)]
)
def test_what_does_not_fit_the_type_becomes_infinity(
    client: AttentionClient,
    dtype: Literal["float16", "bfloat16"],
    fits: float,
    too_large: float,
) -> None:
    values = np.array([[[fits, too_large]], [[-fits, -too_large]]], np.float32).reshape(2, 1, 2)
    query, key = np.zeros((2, 2, 1, 1), np.float32)

    output = client.attend("sdpa", query, key, values, num_heads=1, dtype=dtype).output

    assert output is not None
    assert np.isfinite(output[..., 0]).all()
    assert output[..., 1].tolist() == [[np.inf], [-np.inf]]


@pytest.mark.parametrize(
    ("dtype", "lowest", "weight"),
    [("float32", LOWEST, 0.0), ("float16", -65504.0, 0.5), ("bfloat16", -3.3895e38, 0.5)],
)
def test_the_lowest_number_forbids_in_float32_alone(
    client: AttentionClient, dtype: str, lowest: float, weight: float
) -> None:
    bias = np.array([[lowest, lowest]]).astype(DTYPES[dtype])
    assert np.isfinite(bias.astype(np.float32)).all()

    weights = client.attend(
        "sdpa",
        np.zeros((1, 1, 1), np.float32),
        np.zeros((1, 2, 1), np.float32),
        num_heads=1,
        attn_bias=bias,
        weights=True,
    ).weights

    assert weights is not None
    assert weights.tolist() == [[[[weight, weight]]]]
