"""What a row does not see leaves its bits as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import AttentionClient
from attention_service.manifest import Causal
from tests.parity.cases import BoolArray, Case
from tests.parity.draws import cases, row_parts


def _with_other_keys(case: Case, changed: BoolArray, seed: int) -> Case:
    """Returns the call with other embeddings where ``changed`` [kv_len] says so."""
    random = np.random.default_rng(seed)

    def other(x: NDArray[Any]) -> NDArray[Any]:
        return np.where(changed[:, None], random.standard_normal(x.shape), x).astype(x.dtype)

    return replace(
        case,
        query=other(case.query) if case.key is None else case.query,
        key=None if case.key is None else other(case.key),
        value=None if case.value is None else other(case.value),
    )


def _changed_rows(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], rows: BoolArray
) -> list[str]:
    """Returns the tensors of which any bit differs in these rows [batch, heads, query_len]."""
    whole = rows.all(axis=1)  # the output joins all heads
    return [
        name
        for name, tensor in before.items()
        if not np.array_equal(
            tensor[whole if name == "output" else rows],
            after[name][whole if name == "output" else rows],
        )
    ]


_SEEDS = st.integers(0, 2**32 - 1)


@given(
    case=cases(),
    causal=st.sampled_from(["upper_left", "lower_right"]),
    data=st.data(),
    wanted=row_parts(),
)
def test_a_causal_row_does_not_see_the_future(
    client: AttentionClient,
    case: Case,
    wanted: dict[str, bool],
    causal: Causal,
    data: st.DataObject,
) -> None:
    case = replace(case, masks=replace(case.masks, causal=causal))
    first = data.draw(st.integers(0, case.kv_len - 1))
    changed = np.arange(case.kv_len) >= first
    past = case.places < first  # [batch, query_len]
    if case.key is None:
        past = past & ~changed  # there a key is a query, too
    rows = np.broadcast_to(past[:, None], case.blind.shape)

    before = case.ask(client, **wanted).arrays()
    after = _with_other_keys(case, changed, data.draw(_SEEDS)).ask(client, **wanted).arrays()

    assert _changed_rows(before, after, rows) == []


@given(case=cases(), data=st.data(), wanted=row_parts())
def test_a_row_does_not_see_what_any_mask_hides(
    client: AttentionClient, case: Case, wanted: dict[str, bool], data: st.DataObject
) -> None:
    changed = np.zeros(case.kv_len, bool)
    changed[data.draw(st.lists(st.integers(0, case.kv_len - 1), min_size=1))] = True
    seen: NDArray[Any] = np.any(case.allowed & changed, axis=-1)
    if case.key is None:
        seen = seen | changed  # there a key is a query, too

    before = case.ask(client, **wanted).arrays()
    after = _with_other_keys(case, changed, data.draw(_SEEDS)).ask(client, **wanted).arrays()

    assert _changed_rows(before, after, ~seen) == []
