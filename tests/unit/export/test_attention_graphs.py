from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_export.attention_graphs import FILE_NAMES, attention_graph
from attention_service.reference import attention

from .conftest import RunGraph

FAST = [name for name in FILE_NAMES if name.startswith("fast")]


@pytest.mark.parametrize("name", FILE_NAMES)
def test_committed_graph_is_what_the_exporter_writes(
    name: str, committed_graphs: dict[str, bytes]
) -> None:
    assert committed_graphs[name] == attention_graph(name)


def test_every_graph_is_committed(committed_graphs: dict[str, bytes]) -> None:
    assert sorted(committed_graphs) == sorted(FILE_NAMES)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_no_dimension_is_fixed(name: str, committed_graphs: dict[str, bytes]) -> None:
    graph = onnx.load_from_string(committed_graphs[name]).graph
    for value in [*graph.input, *graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        assert len(dimensions) == (0 if value.name in {"scale", "softcap"} else len(dimensions))
        assert all(d.dim_param and not d.dim_value for d in dimensions), value.name


@pytest.mark.parametrize("name", FAST)
def test_fast_graph_is_one_multiplication_and_the_operator(
    name: str, committed_graphs: dict[str, bytes]
) -> None:
    graph = onnx.load_from_string(committed_graphs[name]).graph
    assert [node.op_type for node in graph.node] == ["Mul", "Attention"]


def bias_of(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    bias = random.standard_normal(shape).astype(np.float32)
    bias[random.random(shape) < 0.3] = -np.inf
    bias[:, :, random.integers(shape[2])] = -np.inf
    return bias


@pytest.mark.parametrize("name", FILE_NAMES)
@hypothesis_settings(max_examples=50)
@given(data=st.data())
def test_graph_agrees_with_the_reference(
    name: str, data: st.DataObject, committed_graphs: dict[str, bytes], run_graph: RunGraph
) -> None:
    size = st.sampled_from([1, 2, 3, 17])
    batch, kv_heads, group = (data.draw(st.integers(1, 3)) for _ in range(3))
    heads, query_len, kv_len = kv_heads * group, data.draw(size), data.draw(size)
    head_dim, value_head_dim = data.draw(size), data.draw(size)
    random = np.random.default_rng(data.draw(st.integers(0, 999)))

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    query = normal(batch, heads, query_len, head_dim)
    key = normal(batch, kv_heads, kv_len, head_dim)
    value = normal(batch, kv_heads, kv_len, value_head_dim)
    settings: dict[str, Any] = {"scale": data.draw(st.sampled_from([-0.5, 0.125, 1.0]))}
    if "unmasked" not in name:
        full = (batch, heads, query_len, kv_len)
        may_be_one = 4 if name.startswith("full") else 2
        shape = tuple(
            1 if i < may_be_one and data.draw(st.booleans()) else n for i, n in enumerate(full)
        )
        settings["attn_bias"] = bias_of(shape, random)
    if "softcap" in name:
        settings["softcap"] = data.draw(st.sampled_from([0.5, 5.0, 50.0]))
    feeds = {field: np.asarray(setting, np.float32) for field, setting in settings.items()}
    feeds |= {"query": query, "key": key, "value": value}
    actual = run_graph(committed_graphs[name], feeds)
    expected = attention(query, key, value, **settings)._asdict()
    for output, tensor in actual.items():
        right = expected[output]
        assert tensor.dtype == np.float32
        assert tensor.shape == right.shape
        finite = np.isfinite(right)
        np.testing.assert_array_equal(tensor[~finite], right[~finite])
        np.testing.assert_array_equal(tensor[right == 0.0], 0.0)
        largest = max(1.0, float(np.abs(right[finite]).max(initial=0.0)))
        np.testing.assert_allclose(tensor[finite], right[finite], rtol=0, atol=3e-6 * largest)


@pytest.mark.parametrize("name", ["full.onnx", "full_softcap.onnx"])
def test_rows_without_keys_are_exact(
    name: str, committed_graphs: dict[str, bytes], run_graph: RunGraph
) -> None:
    random = np.random.default_rng(0)
    query, key, value = (random.standard_normal((1, 2, 4, 3)).astype(np.float32) for _ in range(3))
    one = np.array(1.0, np.float32)
    feeds = {"query": query, "key": key, "value": value, "scale": one}
    feeds["attn_bias"] = np.full((1, 1, 1, 1), -math.inf, np.float32)
    if "softcap" in name:
        feeds["softcap"] = one
    actual = run_graph(committed_graphs[name], feeds)
    assert np.isfinite(actual["scores"]).all()
    assert not actual["weights"].any()
    assert not actual["head_outputs"].any()
    assert (actual["log_sum_exp"] == -math.inf).all()
