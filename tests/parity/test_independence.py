"""Who else is in the batch, and how much of it is asked at once, changes no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from attention_client import AttentionClient, WeightsSpec
from attention_service.reference import Projections
from tests.parity.cases import Case
from tests.parity.closeness import TOLERANCE, disagreements, relative_error, tolerance
from tests.parity.draws import cases, row_parts
from tests.parity.parts import query_of, sequence_of


@given(case=cases(), data=st.data(), wanted=row_parts())
def test_a_sequence_alone_gives_what_it_gives_in_a_batch(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    wanted: dict[str, bool],
    data: st.DataObject,
) -> None:
    b = data.draw(st.integers(0, case.batch - 1))
    together = case.ask(client, **wanted).arrays()

    alone = sequence_of(case, b).ask(client, **wanted)

    bound = tolerance(case.expected(projections).largest_score)
    assert disagreements(alone, {name: x[b : b + 1] for name, x in together.items()}, bound) == {}


@given(case=cases(cross=True), data=st.data(), wanted=row_parts())
def test_a_query_alone_gives_what_it_gives_among_others(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    wanted: dict[str, bool],
    data: st.DataObject,
) -> None:
    i = data.draw(st.integers(0, case.query_len - 1))
    assume((case.places[:, i] >= 0).all())  # an offset says no place before the first key
    together = case.ask(client, **wanted).arrays()

    alone = query_of(case, i).ask(client, **wanted)

    one = {name: x[:, :, i : i + 1] for name, x in together.items() if name != "output"}
    one["output"] = together["output"][:, i : i + 1]
    bound = tolerance(case.expected(projections).largest_score)
    assert disagreements(alone, one, bound) == {}


@given(
    case=cases(cross=True, masks=("kv", "query", "offsets", "key")),
    longer=st.integers(1, 9),
    wanted=row_parts(),
)
def test_more_padding_changes_nothing(
    client: AttentionClient,
    projections: Mapping[str, Projections],
    case: Case,
    wanted: dict[str, bool],
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
    plain = case.ask(client, **wanted).arrays()

    result = padded.ask(client, **wanted)

    if wanted["weights"]:
        plain["weights"] = np.pad(plain["weights"], ((0, 0),) * 3 + ((0, longer),))
    bound = tolerance(case.expected(projections).largest_score)
    assert disagreements(result, plain, bound) == {}


def test_a_request_of_many_blocks_gives_what_its_parts_give(client: AttentionClient) -> None:
    random = np.random.default_rng(0)
    length, some = 3000, 10  # two heads, so more scores than the engine computes at once
    query, key, value = random.standard_normal((3, 1, length, 16)).astype(np.float32)
    ask = partial(
        client.attend,
        "sdpa",
        key=key,
        value=value,
        num_heads=2,
        causal="upper_left",
        window=(1500, None),
        kv_lengths=[length - 100],
        weights=WeightsSpec(top_k=3),
        log_sum_exp=True,
    )
    whole = ask(query=query).arrays()

    for first in (0, length // 2, length - some):
        part = ask(query=query[:, first : first + some], query_offsets=[first]).arrays()
        rows = slice(first, first + some)
        assert relative_error(part["output"], whole["output"][:, rows]) <= TOLERANCE
        for name in ("weights", "log_sum_exp"):
            assert relative_error(part[name], whole[name][:, :, rows]) <= TOLERANCE
        keys = whole["weight_key_indices"][:, :, rows]
        assert np.array_equal(part["weight_key_indices"], keys)
