"""AnalyzeHeads: its figures are those of the weights that Attend gives, whatever the request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attention_client import AttentionClient
from attention_server import EmbeddedServer
from attention_service import tensor
from attention_service.head_measures import HeadMeasures, head_measures
from attention_service.v1 import attention_pb2 as pb
from tests.parity.cases import Case
from tests.parity.draws import cases
from tests.wire import Wire

FLOAT32 = 2e-6
"""Of weights and of their sums over a row: relative and absolute."""

_CAUSAL = {
    None: pb.CAUSAL_MODE_UNSPECIFIED,
    "none": pb.CAUSAL_MODE_NONE,
    "upper_left": pb.CAUSAL_MODE_UPPER_LEFT,
    "lower_right": pb.CAUSAL_MODE_LOWER_RIGHT,
}

Pairs = list[tuple[int, int, int]]


@pytest.fixture(scope="module")
def wire(server: EmbeddedServer) -> Iterator[Wire]:
    with Wire(server.address) as wire:
        yield wire


def message_of(case: Case) -> pb.AttendRequest:
    """Returns a call as it travels; of all tensors but positions, which no case has."""
    masks, heads = case.masks, pb.HeadConfig(ablated_heads=case.ablated_heads)
    if case.model == "sdpa":
        heads.num_heads, heads.num_kv_heads = case.dims.heads, case.dims.kv_heads
    if case.scale is not None:
        heads.scale = case.scale
    if case.softcap is not None:
        heads.softcap = case.softcap
    mask = pb.Mask(
        kv_lengths=masks.kv_lengths,
        query_lengths=masks.query_lengths,
        query_offsets=masks.query_offsets,
        causal=_CAUSAL[masks.causal],
        key_mask=_encoded(masks.key_mask),
        attend_mask=_encoded(masks.attend_mask),
        attn_bias=_encoded(masks.attn_bias),
    )
    if masks.window is not None:
        left, right = masks.window
        mask.window.CopyFrom(pb.SlidingWindow(left=left, right=right))
    return pb.AttendRequest(
        model=case.model,
        mask=mask,
        heads=heads,
        query=_encoded(case.query),
        key=_encoded(case.key),
        value=_encoded(case.value),
    )


def _encoded(array: NDArray[Any] | None) -> pb.Tensor | None:
    return None if array is None else tensor.encode(array)


def expected(case: Case, weights: Any, relations: dict[str, Pairs]) -> list[HeadMeasures]:
    """Returns what the oracle says of these weights."""
    masks = case.masks
    stands = (
        case.key is None
        or case.causal != "none"
        or case.window != (None, None)
        or masks.query_offsets is not None
    )
    lengths = [case.kv_len] * case.batch if masks.kv_lengths is None else masks.kv_lengths
    real_keys = np.arange(case.kv_len) < np.array(lengths)[:, None]
    if masks.key_mask is not None:
        real_keys = real_keys & masks.key_mask
    return head_measures(
        weights,
        in_sight=case.allowed,
        places=case.places if stands else None,
        query_lengths=case.query_lengths,
        real_keys=real_keys,
        relations=relations,
    )


@st.composite
def relations(draw: st.DrawFn, case: Case) -> dict[str, Pairs]:
    sizes = case.batch, case.query_len, case.kv_len
    pair = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    return draw(st.dictionaries(st.text(min_size=1, max_size=3), st.lists(pair, max_size=6)))


def analyze(wire: Wire, case: Case, relations: dict[str, Pairs]) -> pb.AnalyzeHeadsResponse:
    request = pb.AnalyzeHeadsRequest(
        attend=message_of(case),
        relations=[
            pb.Relation(name=name, pairs=[pb.Pair(sequence=b, query=q, key=k) for b, q, k in pairs])
            for name, pairs in relations.items()
        ],
    )
    return pb.AnalyzeHeadsResponse.FromString(wire.answer("AnalyzeHeads", request))


def figures_of(message: pb.HeadAnalysis) -> dict[str, Any]:
    """Returns all but the pattern, which is told from the rest."""
    names = [field.name for field in message.DESCRIPTOR.fields][:11]
    figures = {
        name: getattr(message, name)
        for name in names
        if name in ("head", "rows") or message.HasField(name)  # type: ignore[arg-type]
    }
    return figures | {f"on {name}": share for name, share in message.relation_shares.items()}


@given(case=cases(), data=st.data())
def test_figures_are_those_of_the_weights(
    client: AttentionClient, wire: Wire, case: Case, data: st.DataObject
) -> None:
    pairs = data.draw(relations(case))

    answer = analyze(wire, case, pairs)

    attended = case.ask(client, output=False, weights=True)
    for head, measures in zip(answer.heads, expected(case, attended.weights, pairs), strict=True):
        wanted = {name: value for name, value in vars(measures).items() if value is not None}
        shares = wanted.pop("relation_shares")
        wanted |= {f"on {name}": share for name, share in shares.items()}
        assert figures_of(head) == pytest.approx(wanted, rel=FLOAT32, abs=FLOAT32)
    assert answer.fully_masked_rows == attended.fully_masked_rows


@given(case=cases())
def test_ablated_heads_are_analysed_like_the_others(wire: Wire, case: Case) -> None:
    ablated = analyze(wire, replace(case, ablated_heads=[0]), {})

    assert list(ablated.heads) == list(analyze(wire, replace(case, ablated_heads=[]), {}).heads)


def test_an_answer_for_12_heads_at_2048_tokens_is_smaller_than_4_kib(wire: Wire) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2048, 24), dtype=np.float32)
    to_first = pb.Relation(name="to the first", pairs=[pb.Pair(query=i) for i in range(2048)])
    request = pb.AnalyzeHeadsRequest(
        attend=pb.AttendRequest(
            model="sdpa", query=tensor.encode(x), heads=pb.HeadConfig(num_heads=12)
        ),
        relations=[to_first],
    )

    assert len(wire.answer("AnalyzeHeads", request)) < 4096
