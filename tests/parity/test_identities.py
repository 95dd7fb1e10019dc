"""What attention is, between answers and between the parts of one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from attention_client import AttentionClient
from attention_service.reference import Projections, combine_heads
from tests.parity.cases import Case
from tests.parity.closeness import TOLERANCE, disagreements, relative_error, tolerance
from tests.parity.draws import cases, row_parts
from tests.parity.parts import keys_of


@given(
    case=cases(cross=True, masks=("key", "attend", "bias"), place_matters=False),
    data=st.data(),
    wanted=row_parts(),
)
def test_permuting_keys_permutes_weights_and_nothing_else(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    wanted: dict[str, bool],
    data: st.DataObject,
) -> None:
    order = np.array(data.draw(st.permutations(range(case.kv_len))))
    plain = case.ask(client, **wanted).arrays()

    result = keys_of(case, order).ask(client, **wanted)

    if wanted["weights"]:
        plain["weights"] = plain["weights"][..., order]
    bound = tolerance(case.expected(projections).largest_score)
    assert disagreements(result, plain, bound) == {}


@given(case=cases())
def test_joining_heads_by_hand_gives_the_output(
    client: AttentionClient, projections: Mapping[str, Projections], case: Case
) -> None:
    result = case.ask(client, head_outputs=True)

    assert result.head_outputs is not None
    assert result.output is not None
    output = combine_heads(result.head_outputs)
    if case.model in projections:
        layer = projections[case.model]
        output = output @ np.asarray(layer.w_o) + np.asarray(layer.b_o)
    assert relative_error(result.output, output) <= TOLERANCE


@given(case=cases())
def test_attending_by_hand_to_the_projected_heads_gives_the_head_outputs(
    client: AttentionClient, projections: Mapping[str, Projections], case: Case
) -> None:
    result = case.ask(client, projections=True, weights=True, head_outputs=True)

    assert result.weights is not None
    assert result.value_heads is not None
    assert result.head_outputs is not None
    group = case.dims.heads // case.dims.kv_heads
    values = np.repeat(result.value_heads.astype(np.float64), group, axis=1)
    head_outputs = result.weights @ values
    head_outputs[:, list(case.ablated_heads)] = 0.0
    assert relative_error(result.head_outputs, head_outputs) <= TOLERANCE


@given(case=cases(cross=True, masks=("key", "attend", "bias"), place_matters=False), data=st.data())
def test_answers_over_parts_of_the_keys_merge_by_their_log_sum_exp(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    assume(case.kv_len > 1)
    cut = data.draw(st.integers(1, case.kv_len - 1))
    whole = case.ask(client, output=False, head_outputs=True, log_sum_exp=True)

    parts = [
        keys_of(case, part).ask(client, head_outputs=True, log_sum_exp=True)
        for part in (slice(None, cut), slice(cut, None))
    ]

    sums = np.array([part.log_sum_exp for part in parts], np.float64)
    together = np.logaddexp(*sums)
    with np.errstate(invalid="ignore"):  # of rows that see nothing
        shares = np.nan_to_num(np.exp(sums - together))
    head_outputs = sum(
        share[..., None] * part.arrays()["head_outputs"]
        for share, part in zip(shares, parts, strict=True)
    )
    merged = {"log_sum_exp": together, "head_outputs": np.asarray(head_outputs)}
    bound = tolerance(case.expected(projections).largest_score)
    assert disagreements(whole, merged, bound) == {}
