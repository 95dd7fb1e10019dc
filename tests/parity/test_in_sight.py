"""What a result says of its weights: whose they are, and which keys they could be on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attention_client import AttentionClient, WeightsSpec
from tests.parity.cases import Case
from tests.parity.draws import DTYPES, cases


@st.composite
def _specs(draw: st.DrawFn, case: Case) -> WeightsSpec:
    """Draws which weights to ask for, of this call."""
    heads = st.lists(st.integers(0, case.dims.heads - 1), min_size=1, max_size=4)
    queries = st.lists(st.integers(-case.query_len, case.query_len - 1), min_size=1, max_size=4)
    return WeightsSpec(
        heads=draw(st.none() | heads),
        query_indices=draw(st.none() | queries),
        average_heads=draw(st.booleans()),
        top_k=draw(st.none() | st.integers(1, case.kv_len + 1)),
    )


@given(case=cases(dtypes=tuple(DTYPES)), data=st.data())
def test_a_result_knows_which_keys_its_rows_may_attend_to(
    client: AttentionClient, case: Case, data: st.DataObject
) -> None:
    spec = data.draw(_specs(case))
    chosen = range(case.dims.heads) if spec.heads is None else spec.heads
    rows = range(case.query_len) if spec.query_indices is None else spec.query_indices
    queries = np.arange(case.query_len)[list(rows)]
    expected = case.allowed[:, list(chosen)][:, :, queries]
    if spec.average_heads:
        expected = np.any(expected, axis=1, keepdims=True)

    result = case.ask(client, output=False, weights=spec)

    assert result.weights is not None
    assert result.in_sight is not None
    assert result.selected_heads == tuple(chosen)
    assert result.selected_queries == tuple(queries)
    assert result.in_sight.shape == result.weights.shape
    assert (result.weights[~result.in_sight] == 0.0).all()
    if spec.top_k is None:
        np.testing.assert_array_equal(result.in_sight, expected)
    else:  # as many of the keys in sight as there are, or were asked for
        kept = np.minimum(expected.sum(axis=-1), result.weights.shape[-1])
        np.testing.assert_array_equal(result.in_sight.sum(axis=-1), kept)
