"""What the server answers is what the reference says, whatever is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_client import AttentionClient, AttentionSettings, ScoresSpec
from attention_service.reference import Projections
from tests.parity.cases import MODELS, Case
from tests.parity.closeness import errors, relative_error, tolerance
from tests.parity.draws import cases

_Parts: TypeAlias = Mapping[str, bool]
"""Keywords of ``attend`` that say what is wanted."""

_TENSORS: Mapping[str, set[str]] = {
    "output": {"output"},
    "weights": {"weights"},
    "scores": {"scores"},
    "projections": {"query_heads", "key_heads", "value_heads"},
    "head_outputs": {"head_outputs"},
    "log_sum_exp": {"log_sum_exp"},
}


@st.composite
def _parts(draw: st.DrawFn) -> _Parts:
    """Draws parts of an answer: which ones are wanted together decides the path taken."""
    wanted = draw(st.sets(st.sampled_from(sorted(_TENSORS)), min_size=1))
    return {part: part in wanted for part in _TENSORS}


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=200)
@given(data=st.data(), parts=_parts())
def test_every_tensor_is_the_reference_s(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    model: str,
    data: st.DataObject,
    parts: _Parts,
) -> None:
    case: Case = data.draw(cases(model))

    result = case.ask(client, **parts)

    expected = case.expected(projections)
    bound = tolerance(expected.largest_score)
    assert {n: e for n, e in errors(result, expected).items() if e > bound} == {}


@given(case=cases(), parts=_parts())
def test_an_answer_holds_what_was_asked_for_and_nothing_else(
    client: AttentionClient, case: Case, parts: _Parts
) -> None:
    result = case.ask(client, **parts)

    wanted = (_TENSORS[part] for part, asked in parts.items() if asked)
    assert set(result.arrays()) == set().union(*wanted)


@given(case=cases())
def test_rows_of_real_queries_that_see_nothing_are_counted(
    client: AttentionClient, case: Case
) -> None:
    result = case.ask(client)

    assert result.fully_masked_rows == np.count_nonzero(case.blind & case.real)


@given(case=cases())
def test_settings_are_applied_with_all_defaults_filled_in(
    client: AttentionClient, case: Case
) -> None:
    result = case.ask(client)

    assert result.applied == AttentionSettings(
        num_heads=case.dims.heads,
        num_kv_heads=case.dims.kv_heads,
        scale=case.scale_applied,
        softcap=case.softcap_applied,
        causal=case.causal,
        window=None if case.window == (None, None) else case.window,
    )


@given(case=cases(), data=st.data())
def test_scores_come_for_the_heads_and_queries_that_were_asked_for(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    heads = data.draw(st.none() | st.lists(st.integers(0, case.dims.heads - 1), min_size=1))
    queries = data.draw(st.none() | st.lists(st.integers(0, case.query_len - 1), min_size=1))

    result = case.ask(client, output=False, scores=ScoresSpec(heads, queries))

    expected = case.expected(projections)
    rows = expected.inside.scores[:, heads if heads is not None else slice(None)]
    rows = rows[:, :, queries if queries is not None else slice(None)]
    assert result.scores is not None
    assert relative_error(result.scores, rows) <= tolerance(expected.largest_score)
