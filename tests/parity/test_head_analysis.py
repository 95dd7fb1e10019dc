"""What heads attend to, asked of the server and of a result: both as the oracle says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attention_client import AttentionClient
from attention_service.reference import Projections
from tests.parity.cases import Case
from tests.parity.draws import cases
from tests.parity.figures import assert_same, measured, pairs_of


@given(case=cases(), data=st.data())
def test_server_and_result_tell_the_figures_of_the_oracles_weights(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    relations = {"first": data.draw(pairs_of(case)), "second": data.draw(pairs_of(case))}
    expected = measured(
        case,
        case.expected(projections).inside.weights,
        allowed=case.allowed,
        queries=np.arange(case.query_len),
        relations=relations,
    )

    of_server = client.analyze_heads(**case.keywords, relations=relations)
    of_result = case.ask(client, output=False, weights=True).head_analysis(relations)

    assert_same(of_server.heads, expected, range(case.dims.heads))
    assert_same(of_result, expected, range(case.dims.heads))
    assert of_server.fully_masked_rows == int((case.blind & case.real).sum())
    assert of_server.applied.causal == case.causal
