"""What must hold between answers, whoever is right about the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import AttendResult, AttentionClient
from attention_service.manifest import Causal
from attention_service.reference import Projections, combine_heads
from tests.parity.cases import BoolArray, Case, cases, four_dimensional
from tests.parity.closeness import TOLERANCE, relative_error, tolerance

_EVERYTHING = {"weights": True, "head_outputs": True, "log_sum_exp": True}


def _largest_score(case: Case, projections: Mapping[str, Projections]) -> float:
    return case.expected(projections).largest_score


def _sequence(case: Case, b: int) -> Case:
    """Returns the call for one sequence alone."""

    def one(x: NDArray[Any]) -> NDArray[Any]:
        return x[b : b + 1] if x.shape[0] > 1 else x

    def pairs(mask: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if mask is None else one(four_dimensional(mask))

    masks = case.masks
    return replace(
        case,
        query=one(case.query),
        key=None if case.key is None else one(case.key),
        value=None if case.value is None else one(case.value),
        masks=replace(
            masks,
            kv_lengths=None if masks.kv_lengths is None else [masks.kv_lengths[b]],
            query_lengths=None if masks.query_lengths is None else [masks.query_lengths[b]],
            query_offsets=None if masks.query_offsets is None else [masks.query_offsets[b]],
            key_mask=None if masks.key_mask is None else one(masks.key_mask),
            attend_mask=pairs(masks.attend_mask),
            attn_bias=pairs(masks.attn_bias),
        ),
    )


def _query(case: Case, i: int) -> Case:
    """Returns the call for one query of each sequence alone, where it stands."""

    def pairs(mask: NDArray[Any] | None) -> NDArray[Any] | None:
        if mask is None:
            return None
        mask = four_dimensional(mask)
        return mask[:, :, i : i + 1] if mask.shape[2] > 1 else mask

    masks = case.masks
    return replace(
        case,
        query=case.query[:, i : i + 1],
        masks=replace(
            masks,
            query_lengths=None,
            query_offsets=[int(place) for place in case.places[:, i]],
            attend_mask=pairs(masks.attend_mask),
            attn_bias=pairs(masks.attn_bias),
        ),
    )


def _keys(case: Case, part: slice | NDArray[np.intp]) -> Case:
    """Returns the call with some of the keys, or in another order."""
    assert case.key is not None
    assert case.value is not None
    masks = case.masks
    return replace(
        case,
        key=case.key[:, part],
        value=case.value[:, part],
        masks=replace(
            masks,
            key_mask=None if masks.key_mask is None else masks.key_mask[:, part],
            attend_mask=None if masks.attend_mask is None else masks.attend_mask[..., part],
            attn_bias=None if masks.attn_bias is None else masks.attn_bias[..., part],
        ),
    )


def _agree(actual: AttendResult, expected: Mapping[str, NDArray[Any]], bound: float) -> None:
    far = {
        name: error
        for name, right in expected.items()
        if (error := relative_error(actual.arrays()[name], right)) > bound
    }
    assert far == {}


@given(case=cases(), data=st.data())
def test_a_sequence_alone_gives_what_it_gives_in_a_batch(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    b = data.draw(st.integers(0, case.batch - 1))
    together = case.ask(client, **_EVERYTHING).arrays()

    alone = _sequence(case, b).ask(client, **_EVERYTHING)

    bound = tolerance(_largest_score(case, projections))
    _agree(alone, {name: x[b : b + 1] for name, x in together.items()}, bound)


@given(case=cases(cross=True), data=st.data())
def test_a_query_alone_gives_what_it_gives_among_others(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    i = data.draw(st.integers(0, case.query_len - 1))
    assume((case.places[:, i] >= 0).all())  # an offset says no place before the first key
    together = case.ask(client, **_EVERYTHING).arrays()

    alone = _query(case, i).ask(client, **_EVERYTHING)

    one = {name: x[:, :, i : i + 1] for name, x in together.items() if name != "output"}
    one["output"] = together["output"][:, i : i + 1]
    _agree(alone, one, tolerance(_largest_score(case, projections)))


@given(case=cases(cross=True, masks=("key", "attend", "bias"), place_matters=False), data=st.data())
def test_permuting_keys_permutes_weights_and_nothing_else(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    data: st.DataObject,
) -> None:
    order = np.array(data.draw(st.permutations(range(case.kv_len))))
    plain = case.ask(client, **_EVERYTHING).arrays()

    result = _keys(case, order).ask(client, **_EVERYTHING)

    expected = {**plain, "weights": plain["weights"][..., order]}
    _agree(result, expected, tolerance(_largest_score(case, projections)))


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


@given(case=cases(), causal=st.sampled_from(["upper_left", "lower_right"]), data=st.data())
def test_a_causal_row_does_not_see_the_future(
    client: AttentionClient, case: Case, causal: Causal, data: st.DataObject
) -> None:
    case = replace(case, masks=replace(case.masks, causal=causal))
    first = data.draw(st.integers(0, case.kv_len - 1))
    changed = np.arange(case.kv_len) >= first
    past = case.places < first  # [batch, query_len]
    if case.key is None:
        past = past & ~changed  # there a key is a query, too
    rows = np.broadcast_to(past[:, None], case.blind.shape)

    before = case.ask(client, **_EVERYTHING).arrays()
    after = _with_other_keys(case, changed, data.draw(_SEEDS)).ask(client, **_EVERYTHING).arrays()

    assert _changed_rows(before, after, rows) == []


@given(case=cases(), data=st.data())
def test_a_row_does_not_see_what_any_mask_hides(
    client: AttentionClient, case: Case, data: st.DataObject
) -> None:
    changed = np.zeros(case.kv_len, bool)
    changed[data.draw(st.lists(st.integers(0, case.kv_len - 1), min_size=1))] = True
    seen: NDArray[Any] = np.any(case.allowed & changed, axis=-1)
    if case.key is None:
        seen = seen | changed  # there a key is a query, too

    before = case.ask(client, **_EVERYTHING).arrays()
    after = _with_other_keys(case, changed, data.draw(_SEEDS)).ask(client, **_EVERYTHING).arrays()

    assert _changed_rows(before, after, ~seen) == []


@given(case=cases(cross=True, masks=("kv", "query", "offsets", "key")), longer=st.integers(1, 9))
def test_more_padding_changes_nothing(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    longer: int,
) -> None:
    assert case.key is not None
    assert case.value is not None
    padding, masks = ((0, 0), (0, longer), (0, 0)), case.masks
    padded = replace(
        case,
        key=np.pad(case.key, padding, constant_values=9.0),
        value=np.pad(case.value, padding, constant_values=9.0),
        masks=replace(
            masks,
            kv_lengths=masks.kv_lengths or [case.kv_len] * case.batch,
            key_mask=None if masks.key_mask is None else np.pad(masks.key_mask, padding[:2]),
        ),
    )
    plain = case.ask(client, **_EVERYTHING).arrays()

    result = padded.ask(client, **_EVERYTHING)

    expected = {**plain, "weights": np.pad(plain["weights"], ((0, 0),) * 3 + ((0, longer),))}
    _agree(result, expected, tolerance(_largest_score(case, projections)))


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
    whole = case.ask(client, head_outputs=True, log_sum_exp=True)

    parts = [
        _keys(case, part).ask(client, head_outputs=True, log_sum_exp=True)
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
    expected = {"log_sum_exp": together, "head_outputs": np.asarray(head_outputs)}
    _agree(whole, expected, tolerance(_largest_score(case, projections)))
