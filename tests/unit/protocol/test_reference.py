"""The oracle itself: by hand where numbers are small, against PyTorch in float64 where not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from attention_service.reference import (
    Projections,
    attention,
    combine_heads,
    multi_head_attention,
    split_heads,
)

Float64Array = NDArray[np.float64]

ROUNDING = 1e-13
"""Two ways to add up the same float64 numbers come this close."""
LOWEST = float(np.finfo(np.float32).min)


def _heads(*rows: list[float]) -> Float64Array:
    """Returns one sequence and one head [1, 1, length, size]."""
    return np.array(rows, np.float64)[None, None]


def _close(actual: Any, expected: Any) -> bool:
    return np.allclose(actual, expected, rtol=0.0, atol=ROUNDING)


def test_two_keys_by_hand() -> None:
    # Scores ln 3 and 0, so weights 3/4 and 1/4, and 3/4 * 4 + 1/4 * 8 = 5.
    result = attention(_heads([math.log(3.0)]), _heads([1.0], [0.0]), _heads([4.0], [8.0]), scale=1)

    assert _close(result.scores, _heads([math.log(3.0), 0.0]))
    assert _close(result.weights, _heads([0.75, 0.25]))
    assert _close(result.head_outputs, _heads([5.0]))
    assert _close(result.log_sum_exp, [[[math.log(4.0)]]])


def test_scale_is_1_over_the_root_of_head_dim_unless_given() -> None:
    query, key = _heads([1.0, 1.0, 1.0, 1.0]), _heads([3.0, 3.0, 3.0, 3.0])

    assert _close(attention(query, key, key).scores, 6.0)
    assert _close(attention(query, key, key, scale=0.25).scores, 3.0)
    assert _close(attention(query, key, key, scale=0.0).scores, 0.0)


def test_softcap_bounds_the_logits_but_not_the_scores() -> None:
    cap = 2.0
    result = attention(
        _heads([30.0]), _heads([1.0], [0.0]), _heads([1.0], [0.0]), scale=1, softcap=cap
    )

    capped = cap * math.tanh(30.0 / cap)
    assert _close(result.scores, _heads([30.0, 0.0]))
    assert _close(result.log_sum_exp, math.log(math.exp(capped) + 1.0))


def test_bias_is_added_after_the_softcap() -> None:
    result = attention(
        _heads([30.0]), _heads([1.0]), _heads([1.0]), scale=1, softcap=2.0, attn_bias=[[5.0]]
    )

    assert _close(result.log_sum_exp, 2.0 * math.tanh(15.0) + 5.0)


@pytest.mark.parametrize("forbids", [-math.inf, LOWEST, 2 * LOWEST])
def test_a_bias_of_the_lowest_float32_and_below_forbids(forbids: float) -> None:
    result = attention(
        _heads([0.0]), _heads([1.0], [1.0]), _heads([7.0], [9.0]), attn_bias=[[forbids, 0.0]]
    )

    assert result.weights.tolist() == [[[[0.0, 1.0]]]]
    assert _close(result.log_sum_exp, 0.0)


def test_a_bias_just_above_the_lowest_float32_does_not_forbid() -> None:
    low = float(np.nextafter(np.float32(LOWEST), np.float32(0)))
    result = attention(
        _heads([0.0]), _heads([1.0], [1.0]), _heads([7.0], [9.0]), attn_bias=[[low, low]]
    )

    assert result.weights.tolist() == [[[[0.5, 0.5]]]]


def test_a_row_that_may_attend_to_nothing_is_zeros_and_minus_infinity() -> None:
    result = attention(
        _heads([1.0], [1.0]),
        _heads([1.0], [1.0]),
        _heads([7.0], [9.0]),
        allowed=[[[[True, True], [False, False]]]],
    )

    assert result.weights[0, 0].tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert result.head_outputs[0, 0].tolist() == [[8.0], [0.0]]
    assert np.isfinite(result.log_sum_exp[0, 0, 0])
    assert result.log_sum_exp[0, 0, 1] == -math.inf
    assert np.isfinite(result.scores).all()


def test_ablation_zeroes_head_outputs_and_leaves_weights() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    plain, ablated = attention(x, x, x), attention(x, x, x, ablated_heads=[1])

    assert not ablated.head_outputs[:, 1].any()
    assert np.array_equal(ablated.head_outputs[:, [0, 2]], plain.head_outputs[:, [0, 2]])
    assert np.array_equal(ablated.weights, plain.weights)


def test_query_head_h_uses_key_and_value_head_h_over_the_size_of_a_group() -> None:
    random = np.random.default_rng(0)
    query = random.standard_normal((1, 6, 2, 4))
    key, value = random.standard_normal((2, 1, 3, 5, 4))
    grouped = attention(query, key, value)

    for h, kv in enumerate([0, 0, 1, 1, 2, 2]):
        alone = attention(query[:, [h]], key[:, [kv]], value[:, [kv]])
        assert _close(grouped.head_outputs[:, [h]], alone.head_outputs)
        assert _close(grouped.weights[:, [h]], alone.weights)


def test_scores_beyond_the_range_of_exp_do_not_overflow() -> None:
    result = attention(_heads([1000.0]), _heads([1.0], [0.0]), _heads([3.0], [4.0]), scale=1)

    assert result.weights.tolist() == [[[[1.0, 0.0]]]]
    assert result.log_sum_exp.tolist() == [[[1000.0]]]


_TORCH_CASES: dict[str, tuple[tuple[int, int, int, int, int], dict[str, Any]]] = {
    # batch, heads, kv_heads, query_len, kv_len
    "no mask": ((2, 3, 3, 4, 5), {}),
    "one of everything": ((1, 1, 1, 1, 1), {}),
    "grouped heads": ((2, 6, 2, 4, 5), {"enable_gqa": True}),
    "one key head": ((2, 4, 1, 3, 7), {"enable_gqa": True}),
    "scale": ((2, 2, 2, 4, 5), {"scale": -0.7}),
    "causal": ((2, 2, 2, 5, 5), {"is_causal": True}),
    "boolean mask": ((2, 2, 2, 4, 5), {"mask": "bool"}),
    "float mask": ((2, 2, 2, 4, 5), {"mask": "float"}),
}


@pytest.mark.parametrize(("sizes", "options"), list(_TORCH_CASES.values()), ids=list(_TORCH_CASES))
def test_head_outputs_are_those_of_torch(
    sizes: tuple[int, int, int, int, int], options: dict[str, Any]
) -> None:
    batch, heads, kv_heads, query_len, kv_len = sizes
    random = np.random.default_rng(0)
    query = random.standard_normal((batch, heads, query_len, 8))
    key = random.standard_normal((batch, kv_heads, kv_len, 8))
    value = random.standard_normal((batch, kv_heads, kv_len, 6))
    theirs = dict(options)
    ours: dict[str, Any] = {"scale": theirs.get("scale")}
    mask = theirs.pop("mask", None)
    if mask == "bool":
        ours["allowed"] = random.random((batch, 1, query_len, kv_len)) < 0.5
        ours["allowed"][..., 0] = True  # of rows without keys torch has an idea of its own
        theirs["attn_mask"] = torch.from_numpy(ours["allowed"])
    elif mask == "float":
        ours["attn_bias"] = random.standard_normal((batch, heads, query_len, kv_len))
        theirs["attn_mask"] = torch.from_numpy(ours["attn_bias"])
    if theirs.get("is_causal"):
        ours["allowed"] = np.tril(np.ones((1, 1, query_len, kv_len), bool))

    expected = functional.scaled_dot_product_attention(
        torch.from_numpy(query), torch.from_numpy(key), torch.from_numpy(value), **theirs
    )

    assert _close(attention(query, key, value, **ours).head_outputs, expected.numpy())


def test_log_sum_exp_is_that_of_torch() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    result = attention(x, x, x)

    assert _close(result.log_sum_exp, torch.from_numpy(result.scores).logsumexp(-1).numpy())


def test_a_whole_layer_is_that_of_torch() -> None:
    random = np.random.default_rng(0)
    layer = torch.nn.MultiheadAttention(
        12, 3, kdim=7, vdim=9, batch_first=True, dtype=torch.float64
    )
    state = {name: tensor.detach().numpy() for name, tensor in layer.state_dict().items()}
    state["in_proj_bias"][:] = random.standard_normal(36)  # zeros in a new layer
    state["out_proj.bias"][:] = random.standard_normal(12)
    query, key, value = (
        random.standard_normal(shape) for shape in ((2, 4, 12), (2, 5, 7), (2, 5, 9))
    )
    b_q, b_k, b_v = state["in_proj_bias"].reshape(3, 12)

    output, heads = multi_head_attention(
        query,
        key,
        value,
        Projections(
            w_q=state["q_proj_weight"].T,
            w_k=state["k_proj_weight"].T,
            w_v=state["v_proj_weight"].T,
            w_o=state["out_proj.weight"].T,
            b_q=b_q,
            b_k=b_k,
            b_v=b_v,
            b_o=state["out_proj.bias"],
        ),
        num_heads=3,
    )

    with torch.no_grad():
        expected, weights = layer(
            *(torch.from_numpy(x) for x in (query, key, value)), average_attn_weights=False
        )
    assert _close(output, expected.numpy())
    assert _close(heads.weights, weights.numpy())


def test_an_absent_projection_bias_is_0() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 4))
    w = np.eye(4)
    bare = Projections(w, w, w, w)
    zeros = Projections(w, w, w, w, *np.zeros((4, 4)))

    assert np.array_equal(
        multi_head_attention(x, x, x, bare, num_heads=2)[0],
        multi_head_attention(x, x, x, zeros, num_heads=2)[0],
    )


def test_heads_are_neighbouring_columns_and_join_as_they_were_split() -> None:
    x = np.arange(2 * 3 * 8.0).reshape(2, 3, 8)

    heads = split_heads(x, 4)

    assert np.array_equal(heads[:, 1], x[..., 2:4])
    assert np.array_equal(combine_heads(heads), x)
